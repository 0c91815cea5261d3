"""What faults.py tries: the command lines, and the calls that fail with their errors."""
import collections

# The errors of each kind of call. A name with a "+" fails from that call on, others fail once. SHORT transfers a part
# of the bytes.
ERRORS = {
    "malloc": ["ENOMEM", "ENOMEM+"], "calloc": ["ENOMEM", "ENOMEM+"], "realloc": ["ENOMEM", "ENOMEM+"],
    "aligned": ["ENOMEM", "ENOMEM+"], "mmap": ["ENOMEM", "EACCES"],
    "open": ["EMFILE", "EMFILE+", "EACCES", "EIO", "EINTR"], "read": ["EIO", "EINTR", "SHORT"],
    "write": ["ENOSPC", "ENOSPC+", "EIO", "EINTR", "SHORT"], "fsync": ["EIO", "ENOSPC", "EINTR"],
    "rename": ["EIO", "EACCES"], "close": ["EIO", "EINTR"], "stat": ["EACCES", "EIO"], "access": ["EACCES", "EIO"],
    "mkdir": ["ENOSPC", "EACCES"], "flock": ["EIO", "EINTR", "ENOLCK"], "fopen": ["EMFILE", "EACCES"],
    "fwrite": ["ENOSPC", "EIO"], "fflush": ["ENOSPC", "EIO"], "fclose": ["ENOSPC", "EIO"],
    "opendir": ["EMFILE", "EACCES"], "readdir": ["EIO"], "scandir": ["EIO", "EACCES", "ENOMEM"],
    "realpath": ["EACCES", "EIO"], "thread": ["EAGAIN"],
}
MEMORY = {"malloc", "calloc", "realloc", "aligned"}

Case = collections.namedtuple("Case", "name command before again", defaults=("", False))


# The command that is killed.
LONGER = Case("killed", "run in/longer.yaml")


def cases():
    """Every command line. `before` is run undisturbed first, in the same folder; `again` asks that the command, run
    once more after a failure, gives the outputs of the undisturbed run."""
    train = "--data in/text.txt --tokens 64 --context 16 --batch 1 --threads 1"
    yield Case("help", "help")
    yield Case("help-verb", "help recal")
    yield Case("help-man", "help --man")
    yield Case("help-completion", "help --completion zsh")
    yield Case("help-recipe", "help recipe")
    yield Case("inspect-hf", "inspect in/llama")
    yield Case("inspect-gguf", "inspect in/llama.gguf --json")
    for source in ("llama", "llama.gguf", "llama.zip", "torch", "shards"):
        for out in ("x", "x.gguf", "x.zip"):
            yield Case(f"convert-{source}-{out}", f"convert in/{source} out/{out}")
    yield Case("convert-drop", "convert in/llama out/x --drop-rope=1 --sliding-window 8:0")
    yield Case("convert-drop-gguf", "convert in/llama out/x.gguf --drop-rope=1 --sliding-window 8:0 --depfile out/x.d")
    yield Case("convert-force", "convert in/llama out/x --drop-rope --force", "convert in/llama out/x")
    yield Case("convert-force-gguf", "convert in/llama out/x.gguf --drop-rope --force", "convert in/llama out/x.gguf")
    yield Case("convert-shards", "convert in/llama out/x --max-shard-size 4k")
    for dtype in ("f32", "f16", "bf16"):
        yield Case(f"convert-{dtype}", f"convert in/llama out/x --dtype {dtype}")
    for dtype in ("f32", "f16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl",
                  "iq4_xs"):
        yield Case(f"convert-{dtype}-gguf", f"convert in/llama out/x.gguf --dtype {dtype}")
    yield Case("recal", f"recal in/llama out/x --drop-rope=1 {train}")
    yield Case("recal-distill", f"recal in/llama out/x.gguf --drop-rope=1 --objective distill {train}")
    yield Case("recal-packed", f"recal in/llama out/x --drop-rope=1 {train.replace('text.txt', 'packed')}")
    yield Case("run", "run in/recipe.yaml", again=True)
    yield Case("run-twice", "run in/recipe.yaml", "run in/recipe.yaml", again=True)
    yield Case("plan", "plan in/recipe.yaml")
    yield Case("plan-json", "plan in/recipe.yaml --json")
    yield Case("ppl", "ppl in/llama in/text.txt --context 16 --threads 1 --json")
    yield Case("eval", "eval in/llama in/dropped --text in/text.txt --lengths 16,32 --suite perplexity,copy --trials 1"
                       " --depths 1 --tokens 32 --threads 1 --json --transcript out/e.jsonl")
    yield Case("eval-report", "eval in/llama --text in/text.txt --lengths 16 --suite perplexity --tokens 32 --threads 1"
                              " --report out/e.html")
    yield Case("generate", "generate in/llama the --tokens 4 --threads 1")
    yield Case("generate-gguf", "generate in/llama.gguf the --tokens 4 --threads 2")
    yield Case("logits", "logits in/llama --ids in/ids.txt --out out/l.bin --threads 1")
    yield Case("tokenize", "tokenize in/llama in/text.txt")
    yield Case("tokenize-gguf", "tokenize in/llama.gguf in/text.txt --json")
    yield Case("detokenize", "detokenize in/llama in/ids.txt")
    yield Case("diff", "diff in/llama in/dropped")
    yield Case("diff-json", "diff in/llama.gguf in/dropped.gguf --json")
    yield Case("verify-hf", "verify in/dropped")
    yield Case("verify-gguf", "verify in/dropped.gguf --json")
    yield Case("verify-zip", "verify in/dropped.zip")
