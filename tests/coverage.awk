# Sums what `gcov -n` prints for each file, by folder: the lines that the tests ran, of those that there are.
/^File / {
    split($0, quoted, "'")
    file = quoted[2]
    folder = file
    sub(/\/.*/, "", folder)
}
/^Lines executed:/ && file ~ /\.c$/ {
    split($0, part, /[:% ]+/)
    lines[folder] += part[length(part)]
    ran[folder] += part[3] * part[length(part)] / 100
    file = ""
}
END {
    n = split("formats surgery recal cmd", order, " ")
    for (i = 1; i <= n; i++) {
        f = order[i]
        printf "%-8s %5d lines, %4.1f %% run\n", f, lines[f], 100 * ran[f] / lines[f]
        all += lines[f]
        all_ran += ran[f]
    }
    printf "%-8s %5d lines, %4.1f %% run\n", "all", all, 100 * all_ran / all
}
