/* The state of an interrupted run: it comes back bit for bit, and nothing but itself is taken for it. */
#include "formats/file.h"
#include "formats/hash.h"
#include "recal/state.h"
#include "surgery/model_open.h"
#include "tests/text_model.h"

static const char config[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 40, \"hidden_size\": 16, \"intermediate_size\": 24,"
    "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"num_key_value_heads\": 1,"
    "\"max_position_embeddings\": 64, \"tie_word_embeddings\": true}";

/* A run in the middle: weights, moments and counters. */
typedef struct Run {
    Checkpoint *source;
    Model *model;
    Net *net;
    AdamW adam;
    TrainResult result;
} Run;

static void start(Run *r, const char *json, uint64_t seed) {
    Error e = {0};
    *r = (Run){.source = checkpoint_new(FORMAT_HF), .result = {.losses = json_array()}};
    checkpoint_set_file(r->source, "config.json", json, strlen(json));
    r->model = model_open_config(r->source, &e);
    assert_non_null(r->model);
    r->net = net_random(r->model, seed, 1, &e);
    assert_true(r->net && adamw_init(&r->adam, r->net, &e));
}

static void end(Run *r) {
    json_decref(r->result.losses);
    adamw_free(&r->adam);
    net_close(r->net);
    model_close(r->model);
    checkpoint_close(r->source);
}

static void progress(Run *r) {
    for (size_t i = 0; i < r->net->n_weights; i++) {
        r->adam.m[i] = (float)i / 3;
        r->adam.v[i] = 1 / (float)(i + 1);
    }
    r->adam.step = 17;
    r->result.tokens = 12345678901;
    r->result.steps = 17;
    r->result.seconds = 0.1;
    r->result.first = 3.3333333333333335;
    r->result.last = 1e-9;
    json_array_append_new(r->result.losses, json_pack("[I, f]", (json_int_t)96, 2.0 / 3));
}

static TrainOptions options(void) {
    TrainOptions o = train_defaults();
    o.objective = objective_by_name("next-token");
    o.context = 24;
    o.tokens = 9600;
    return o;
}

static const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8};

static StateKey key_of(const Run *r) {
    TrainOptions o = options();
    return state_key(r->net, NULL, ids, 8, &o);
}

/* The file, its bytes in *bytes, and the key it was made with. */
static StateKey saved(const char *name, Buffer *bytes) {
    Run r;
    Error e = {0};
    start(&r, config, 7);
    StateKey key = key_of(&r);
    progress(&r);
    if (!state_save(scratch_path(name), &key, r.net, &r.adam, &r.result, &e)) fail_msg("%s", e.message);
    assert_true(file_read(scratch_path(name), 1 << 24, bytes, &e));
    end(&r);
    return key;
}

static void what_is_saved_comes_back(void **state) {
    (void)state;
    Run r, back;
    Error e = {0};
    start(&r, config, 7);
    start(&back, config, 8);
    progress(&r);
    StateKey key = key_of(&r);
    scratch_folder("there");
    const char *path = scratch_path("there/state");
    for (int again = 0; again < 2; again++) /* it replaces the one before */
        assert_true(state_save(path, &key, r.net, &r.adam, &r.result, &e));
    assert_int_equal(entries_in("there"), 1);
    if (!state_load(path, &key, back.net, &back.adam, &back.result, &e)) fail_msg("%s", e.message);
    size_t bytes = r.net->n_weights * sizeof(float);
    assert_memory_equal(back.net->weights, r.net->weights, bytes);
    assert_memory_equal(back.adam.m, r.adam.m, bytes);
    assert_memory_equal(back.adam.v, r.adam.v, bytes);
    assert_int_equal(back.adam.step, 17);
    assert_int_equal(back.result.tokens, 12345678901);
    assert_int_equal(back.result.steps, 17);
    assert_true(back.result.seconds == 0.1);
    assert_true(back.result.first == 3.3333333333333335);
    assert_true(back.result.last == 1e-9);
    assert_true(json_equal(back.result.losses, r.result.losses));
    end(&r);
    end(&back);
}

/* Refused with this message after the path and ERR_INPUT, nothing touched. */
static void assert_not_loaded(const char *name, const StateKey *key, const char *says) {
    Run r, before;
    Error e = {0};
    start(&r, config, 9);
    start(&before, config, 9);
    if (state_load(scratch_path(name), key, r.net, &r.adam, &r.result, &e))
        fail_msg("loaded, though: %s", says);
    assert_int_equal(e.code, ERR_INPUT);
    assert_memory_equal(e.message, scratch_path(name), strlen(scratch_path(name)));
    if (!strstr(e.message, says)) fail_msg("'%s' does not say '%s'", e.message, says);
    size_t bytes = r.net->n_weights * sizeof(float);
    assert_memory_equal(r.net->weights, before.net->weights, bytes);
    assert_memory_equal(r.adam.m, before.adam.m, bytes);
    assert_memory_equal(r.adam.v, before.adam.v, bytes);
    assert_true(r.adam.step == 0 && r.result.tokens == 0 && json_array_size(r.result.losses) == 0);
    end(&r);
    end(&before);
}

static void what_is_cut_short_is_refused(void **state) {
    (void)state;
    Buffer bytes = {0};
    StateKey key = saved("s", &bytes);
    for (size_t n = 0; n < bytes.size; n += n < 400 ? 1 : 509) {
        scratch_file("cut", bytes.data, n);
        assert_not_loaded("cut", &key,
                          n < 16 ? ": not a training state" : " bytes, a state of this model has ");
    }
    buffer_byte(&bytes, 0);
    scratch_file("cut", bytes.data, bytes.size);
    assert_not_loaded("cut", &key, " bytes, a state of this model has ");
    buffer_free(&bytes);
}

static void every_flipped_bit_is_noticed(void **state) {
    (void)state;
    Buffer bytes = {0};
    StateKey key = saved("s", &bytes);
    for (size_t i = 0; i < bytes.size; i += i < 300 || i + 34 > bytes.size ? 1 : 997)
        for (int bit = 0; bit < 8; bit += i < 16 ? 1 : 5) {
            bytes.data[i] ^= (uint8_t)(1 << bit);
            scratch_file("flipped", bytes.data, bytes.size);
            assert_not_loaded("flipped", &key,
                              i < 8    ? ": not a training state"
                              : i < 16 ? " bytes, a state of this model has "
                                       : ": damaged (its hash does not match)");
            bytes.data[i] ^= (uint8_t)(1 << bit);
        }
    buffer_free(&bytes);
}

static void what_is_no_state_is_refused(void **state) {
    (void)state;
    Buffer bytes = {0};
    StateKey key = saved("s", &bytes);
    scratch_text("note", "a letter of more than sixteen bytes");
    assert_not_loaded("note", &key, "note: not a training state");
    scratch_folder("folder");
    assert_not_loaded("folder", &key, "folder: not a regular file");
    assert_int_equal(mkfifo(scratch_path("fifo"), 0600), 0);
    assert_not_loaded("fifo", &key, "fifo: not a regular file");
    assert_not_loaded("absent", &key, "absent: No such file or directory");
    buffer_free(&bytes);
}

/* A state whose header is not JSON, with a valid hash: the header is checked as well. */
static void headers_that_are_wrong(void **state) {
    (void)state;
    static const char *const headers[] = {"{}", "[]", "{\"key\": 1}", "{\"key\": \"\"}", "", "{\"key\""};
    static const char *const says[] = {"was made with other", "was made with other", "was made with other",
                                       "was made with other", "not valid JSON",      "not valid JSON"};
    Buffer bytes = {0};
    StateKey key = saved("s", &bytes);
    uint64_t length;
    memcpy(&length, bytes.data + 8, sizeof length);
    for (int i = 0; i < 6; i++) {
        Buffer b = {0};
        uint64_t n = strlen(headers[i]);
        char digest[33];
        buffer_append(&b, bytes.data, 8);
        buffer_append(&b, &n, sizeof n);
        buffer_append(&b, headers[i], n);
        buffer_append(&b, bytes.data + 16 + length, bytes.size - 16 - length - 32);
        hash_bytes(b.data, b.size, digest);
        buffer_append(&b, digest, 32);
        scratch_file("header", b.data, b.size);
        assert_not_loaded("header", &key, says[i]);
        buffer_free(&b);
    }
    buffer_free(&bytes);
}

/* Another model, teacher, text or option gives another key. */
static void keys_tell_runs_apart(void **state) {
    (void)state;
    enum { MANY = 20 };
    StateKey keys[MANY];
    int n = 0;
    Run r, other;
    start(&r, config, 7);
    start(&other, config, 8); /* the same configuration, other weights */
    TrainOptions same = options(), o;
    keys[n++] = state_key(r.net, NULL, ids, 8, &same);
    keys[n++] = state_key(other.net, NULL, ids, 8, &same);
    keys[n++] = state_key(r.net, r.net, ids, 8, &same);
    keys[n++] = state_key(r.net, other.net, ids, 8, &same);
    keys[n++] = state_key(r.net, NULL, ids, 7, &same);
    keys[n++] = state_key(r.net, NULL, ids + 1, 7, &same);
    o = same, o.objective = objective_by_name("distill");
    keys[n++] = state_key(r.net, NULL, ids, 8, &o);
    o = same, o.lr = 1e-4;
    keys[n++] = state_key(r.net, NULL, ids, 8, &o);
    o = same, o.tokens++;
    keys[n++] = state_key(r.net, NULL, ids, 8, &o);
    o = same, o.context++;
    keys[n++] = state_key(r.net, NULL, ids, 8, &o);
    o = same, o.batch++;
    keys[n++] = state_key(r.net, NULL, ids, 8, &o);
    o = same, o.accumulate++;
    keys[n++] = state_key(r.net, NULL, ids, 8, &o);
    o = same, o.seed++;
    keys[n++] = state_key(r.net, NULL, ids, 8, &o);
    o = same, o.warmup++;
    keys[n++] = state_key(r.net, NULL, ids, 8, &o);
    o = same, o.weight_decay *= 2;
    keys[n++] = state_key(r.net, NULL, ids, 8, &o);
    o = same, o.clip *= 2;
    keys[n++] = state_key(r.net, NULL, ids, 8, &o);
    o = same, o.min_lr_ratio *= 2;
    keys[n++] = state_key(r.net, NULL, ids, 8, &o);
    r.model->spec.layers[0].position = POSITION_NOPE; /* what a pass changes */
    keys[n++] = state_key(r.net, NULL, ids, 8, &same);
    r.model->spec.layers[0].position = POSITION_ROPE;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(keys[i].hash, keys[k].hash) == 0) fail_msg("keys %d and %d are the same", k, i);
    o = same, o.save_seconds++, o.state_path = "elsewhere", o.resume = true; /* how, not what */
    assert_string_equal(state_key(r.net, NULL, ids, 8, &o).hash, keys[0].hash);
    end(&r);
    end(&other);
}

static void states_of_other_runs_are_refused(void **state) {
    (void)state;
    static const char wider[] =
        "{\"model_type\": \"llama\", \"vocab_size\": 41, \"hidden_size\": 16, \"intermediate_size\": 24,"
        "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"num_key_value_heads\": 1,"
        "\"max_position_embeddings\": 64, \"tie_word_embeddings\": true}";
    Run r;
    Error e = {0};
    start(&r, wider, 7);
    StateKey key = key_of(&r);
    assert_true(state_save(scratch_path("wider"), &key, r.net, &r.adam, &r.result, &e));
    end(&r);
    assert_not_loaded("wider", &key, " bytes, a state of this model has ");
    start(&r, config, 8);
    StateKey its = key_of(&r);
    assert_true(state_save(scratch_path("other"), &its, r.net, &r.adam, &r.result, &e));
    end(&r);
    assert_not_loaded("other", &key,
                      "other: was made with other options, data or model; remove it to start "
                      "again, or repeat the command that made it");
}

static void a_state_that_cannot_be_written(void **state) {
    (void)state;
    Run r;
    Error e = {0};
    start(&r, config, 7);
    StateKey key = key_of(&r);
    assert_false(state_save(scratch_path("nowhere/s"), &key, r.net, &r.adam, &r.result, &e));
    assert_int_equal(e.code, ERR_FAILED);
    assert_non_null(strstr(e.message, "nowhere/s: cannot write there: No such file or directory"));
    end(&r);
}

/* On the command line: 3, the file named, nothing written and the source as it was. */
static void what_resume_says(void **state) {
    (void)state;
    char before[33], after[33];
    Error e = {0};
    text_folder("in");
    text_file("train", 3, 300);
    assert_true(hash_file(scratch_path("in/model.safetensors"), before, &e));
    scratch_text("out.derope-state", "a letter of more than sixteen bytes");
    assert_fails("recal in out --data train --tokens 1k --context 16 --resume", 3,
                 "derope recal: out.derope-state: not a training state");
    Buffer bytes = {0};
    saved("s", &bytes);
    scratch_file("out.derope-state", bytes.data, bytes.size);
    assert_fails("recal in out --data train --tokens 1k --context 16 --resume", 3, "out.derope-state: ");
    assert_int_equal(access(scratch_path("out"), F_OK), -1);
    assert_file("out.derope-state", bytes.data, bytes.size);
    assert_true(hash_file(scratch_path("in/model.safetensors"), after, &e));
    assert_string_equal(before, after);
    buffer_free(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_comes_back),
        cmocka_unit_test(what_is_cut_short_is_refused),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(what_is_no_state_is_refused),
        cmocka_unit_test(headers_that_are_wrong),
        cmocka_unit_test(keys_tell_runs_apart),
        cmocka_unit_test(states_of_other_runs_are_refused),
        cmocka_unit_test(a_state_that_cannot_be_written),
        cmocka_unit_test(what_resume_says),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, scratch_remove);
}
