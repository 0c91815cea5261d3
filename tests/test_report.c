/* Reports: escaping of hostile text, the sections and sentences of the page, CSV, model card and pictures,
 * and that no JSON, however wrong, breaks them. tests/peers/test_report.py looks at the page in a browser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/report/report_card.h"
#include "cmd/report/report_csv.h"
#include "cmd/report/report_html.h"
#include "cmd/report/report_picture.h"
#include "cmd/report/report_text.h"
#include "cmd/report/result_rows.h"
#include "cmd/report/scale.h"
#include "formats/json.h"

static const char small[] =
    "{'derope': '0.1.0', 'command': 'derope eval a b', 'seconds': 75,"
    " 'machine': {'cpu': 'Some CPU', 'cores': 2, 'memory_gb': 23.5}, 'started': '2026-11-25T03:00:00Z',"
    " 'texts': [{'file': 'books/held-out.txt', 'bytes': 12345, 'xxh3_128': 'abcd'}], 'settings': {'seed': 7},"
    " 'models': [{'name': 'a', 'context': 256, 'passes': [], 'recalibration': null,"
    "   'layers': [{'position': 'rope', 'window': null, 'rope': {'base': 10000.0}}]},"
    "  {'name': 'b', 'context': 256, 'family': 'llama', 'parameters': 1200000,"
    "   'layers': [{'position': 'rope', 'window': 64}, {'position': 'rope', 'window': 64}, {'position': "
    "'nope'}],"
    "   'passes': [{'pass': 'drop_rope', 'layers': '2'}],"
    "   'recalibration': {'tokens_seen': 8192, 'objective': 'distill', 'seconds': 3,"
    "                     'losses': [[4096, 2.5], [8192, 1.5]]}}],"
    " 'perplexity': ["
    "  {'model': 1, 'method': 'none', 'length': 512, 'perplexity': 2.0, 'low': 1.9, 'high': 2.1, 'nll': 0.7,"
    "   'tokens': 1024, 'windows': 2, 'softmax_scale': 1.0,"
    "   'positions': [{'to': 256, 'nll': 0.8}, {'to': 512, 'nll': 0.6}]},"
    "  {'model': 1, 'method': 'none', 'length': 256, 'perplexity': 2.05, 'low': 2.0, 'high': 2.15},"
    "  {'model': 0, 'method': 'none', 'length': 512, 'perplexity': 4.0, 'low': 3.5, 'high': 4.5},"
    "  {'model': 0, 'method': 'yarn', 'length': 512, 'perplexity': 3.0, 'low': 2.8, 'high': 3.2}],"
    " 'tasks': ["
    "  {'model': 1, 'method': 'none', 'task': 'needle', 'length': 512, 'depth': 0.0, 'trials': 10, 'score': "
    "0.5,"
    "   'low': 0.24, 'high': 0.76, 'first': 0.9, 'first_low': 0.6, 'first_high': 0.98, 'mean_rank': 1.5,"
    "   'candidates': 10},"
    "  {'model': 1, 'method': 'none', 'task': 'needle', 'length': 512, 'depth': 1.0, 'trials': 10, 'score': "
    "1.0,"
    "   'low': 0.72, 'high': 1.0, 'candidates': 10}]}";

/* Parses JSON that is written with ' instead of ", which C strings would have to escape. */
static json_t *parse(const char *text) {
    Error e = {0};
    char *copy = xstrdup(text);
    for (char *p = copy; *p; p++)
        if (*p == '\'') *p = '"';
    json_t *v = json_parse("test", copy, strlen(copy), &e);
    if (!v) fail_msg("%s", e.message);
    free(copy);
    return v;
}

static void assert_has(Buffer *b, const char *part) {
    if (!strstr(buffer_string(b), part)) fail_msg("'%s' is not in:\n%.6000s", part, buffer_string(b));
}

static void assert_lacks(Buffer *b, const char *part) {
    if (strstr(buffer_string(b), part)) fail_msg("'%s' is in the output", part);
}

/* Fails unless every start tag has its end tag, in proper nesting. Declarations (<!...>) and empty elements
 * (<.../>) need none. */
static void assert_balanced(Buffer *b) {
    const char *open[256];
    size_t lengths[256], depth = 0;
    for (const char *p = strchr(buffer_string(b), '<'); p; p = strchr(p, '<')) {
        const char *end = strchr(p, '>'), *name = p + 1 + (p[1] == '/');
        assert_non_null(end);
        size_t n = strcspn(name, " />");
        if (p[1] == '/') {
            if (!depth || lengths[depth - 1] != n || strncmp(open[depth - 1], name, n) != 0)
                fail_msg("unmatched: %.80s", p);
            depth--;
        } else if (p[1] != '!' && end[-1] != '/') {
            assert_true(depth < 256);
            open[depth] = name;
            lengths[depth++] = n;
        }
        p = end;
    }
    assert_int_equal(depth, 0);
}

static void expect(void (*escape)(const char *, Buffer *), const char *in, const char *out) {
    Buffer b = {0};
    escape(in, &b);
    assert_string_equal(buffer_string(&b), out);
    buffer_free(&b);
}

static void text_is_escaped_for_xml(void **state) {
    (void)state;
    expect(text_xml, "a<b>\"c\"&amp;'", "a&lt;b&gt;&quot;c&quot;&amp;amp;'");
    expect(text_xml, "\x01\x1b\x7f|\xef\xbf\xbf|\xff|na\xc3\xafve\n",
           "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd|na\xc3\xafve\n");
    expect(text_xml,
           "\xe2\x80\xae"
           "evil",
           "\xef\xbf\xbd"
           "evil"); /* right-to-left override */
}

static void text_is_escaped_for_csv(void **state) {
    (void)state;
    expect(text_csv, "plain name", "plain name");
    expect(text_csv, "a,b", "\"a,b\"");
    expect(text_csv, "say \"x\"\nz", "\"say \"\"x\"\"\nz\"");
    expect(text_csv, "=1+1", "\"'=1+1\"");
    expect(text_csv, "@x", "\"'@x\"");
    expect(text_csv, "", "");
}

static void text_is_escaped_for_markdown(void **state) {
    (void)state;
    expect(text_markdown, "[a](http://x) | `b` *c* _d_ # <e> & $f$ !",
           "\\[a\\](http&#58;//x) \\| \\`b\\` \\*c\\* \\_d\\_ \\# &lt;e&gt; &amp; \\$f\\$ \\!");
    expect(text_markdown, "a\r\n# b\\", "a  \\# b\\\\");
    expect(text_markdown, "me@x.org", "me&#64;x.org");
    expect(text_markdown_block, "run", "```\nrun\n```\n");
    expect(text_markdown_block, "a ```` b", "`````\na ```` b\n`````\n");
}

static void text_is_escaped_for_yaml(void **state) {
    (void)state;
    expect(text_yaml, "apache-2.0", "apache-2.0");
    expect(text_yaml, "org/Model_1.5", "org/Model_1.5");
    expect(text_yaml, "no", "\"no\"");
    expect(text_yaml, "Null", "\"Null\"");
    expect(text_yaml, "1e5", "\"1e5\"");
    expect(text_yaml, "- a: b # c", "\"- a: b # c\"");
    expect(text_yaml, "a\"\\\n\x01\t\xe2\x80\xa8---", "\"a\\\"\\\\\\n\\u0001\\u0009\\u2028---\"");
    expect(text_yaml, "", "\"\"");
}

static void numbers_read_well(void **state) {
    (void)state;
    Arena a = {0};
    assert_string_equal(text_count(&a, 2048), "2048");
    assert_string_equal(text_count(&a, 1234567), "1\xe2\x80\xaf"
                                                 "234\xe2\x80\xaf"
                                                 "567");
    assert_string_equal(text_value(&a, 2.28), "2.280");
    assert_string_equal(text_value(&a, 9.99951), "10.00");
    assert_string_equal(text_value(&a, 123.45), "123.5");
    assert_string_equal(text_value(&a, 1e-9), "1.00e-09");
    assert_string_equal(text_seconds(&a, 59.7), "60 s");
    assert_string_equal(text_seconds(&a, 123), "2 min 3 s");
    assert_string_equal(text_seconds(&a, 7322), "2 h 2 min");
    assert_string_equal(text_large(&a, 1.2e6), "1.2 million");
    assert_string_equal(text_clip(&a, "abcdef", 6), "abcdef");
    assert_string_equal(text_clip(&a, "abcdefg", 6), "abcde\xe2\x80\xa6");
    assert_string_equal(text_clip(&a, "\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2", 4), "\xe6\xbc\xa2\xe2\x80\xa6");
    assert_string_equal(text_clip(&a, "\xc3\xa9\xc3\xa9\xc3\xa9", 3), "\xc3\xa9\xc3\xa9\xc3\xa9");
    arena_free(&a);
}

static void assert_ticks(double low, double high, bool log, const char *expected) {
    Arena a = {0};
    Buffer b = {0};
    double ticks[24];
    Scale s = scale_fit(low, high, 0, 100, log, true);
    size_t n = scale_ticks(&s, 5, ticks, 24);
    for (size_t i = 0; i < n; i++)
        buffer_printf(&b, "%s%s", i ? " " : "", scale_label(&a, ticks, n, i));
    assert_string_equal(buffer_string(&b), expected);
    buffer_free(&b);
    arena_free(&a);
}

static void axes_have_round_ticks(void **state) {
    (void)state;
    assert_ticks(2.17, 6.4, false, "2 3 4 5 6 7");
    assert_ticks(0, 1, false, "0 0.2 0.4 0.6 0.8 1.0");
    assert_ticks(2.2, 26, true, "5 10 20");
    assert_ticks(1, 1e6, true, "1 100 1e+04 1e+06");
    assert_ticks(5, 5, false, "4.5 5.0 5.5");
    assert_ticks(0, 0, false, "-1.0 -0.5 0 0.5 1.0");
}

static void sections_follow_the_data(void **state) {
    (void)state;
    static const char *const headings[] = {"<h2>Perplexity by length</h2>", "<h2>Loss by position</h2>",
                                           "<h2>Task: needle</h2>", "<h2>Recalibration</h2>",
                                           "<h2>What was changed</h2>"};
    Buffer b = {0};
    json_t *all = parse(small), *none = json_object();
    report_html(all, &b);
    for (size_t i = 0; i < 5; i++)
        assert_has(&b, headings[i]);
    assert_balanced(&b);
    assert_has(&b, "<pre>derope eval a b</pre>");
    assert_has(&b, "Some CPU, 2 cores, 23.5 GB");
    assert_has(&b, "<dd>75 s</dd>");
    assert_has(&b, "<dt>seed</dt>\n<dd>7</dd>");
    assert_has(&b, "drop_rope (layers 2)");
    assert_lacks(&b, "<script");
    b.size = 0;
    report_html(none, &b);
    for (size_t i = 0; i < 5; i++)
        assert_lacks(&b, headings[i]);
    assert_has(&b, "<h1>Long-context evaluation</h1>");
    assert_balanced(&b);
    buffer_free(&b);
    json_decref(all);
    json_decref(none);
}

static void the_summary_claims_what_intervals_support(void **state) {
    (void)state;
    Buffer b = {0};
    json_t *r = parse(small);
    report_html(r, &b);
    assert_has(&b,
               "At 512 tokens (2\xc3\x97 the training length) b has the lowest perplexity of the 3 measured, "
               "2.000 (95\xc2\xa0% interval 1.900\xe2\x80\x93"
               "2.100). Next is a + YaRN with 3.000 (95\xc2\xa0% interval 2.800\xe2\x80\x93"
               "3.200); no other interval overlaps the first.");
    assert_has(&b, "the perplexity of b stays level within its intervals (2.050, then 2.000).");
    assert_has(
        &b, "Task needle at 512 tokens: b answers exactly in 75\xc2\xa0% of 20 trials (95\xc2\xa0% interval "
            "53\xe2\x80\x93"
            "89).");
    assert_has(&b,
               "b was recalibrated on 8192 tokens in 3.0 s (distill); its loss went from 2.500 to 1.500.");
    json_t *yarn = json_array_get(json_object_get(r, "perplexity"), 3);
    json_object_set_new(yarn, "low", json_real(2.05));
    b.size = 0;
    report_html(r, &b);
    assert_has(&b, "Its interval overlaps that of a + YaRN, so their order is uncertain. No other interval");
    json_object_del(yarn, "low");
    b.size = 0;
    report_html(r, &b);
    assert_has(&b,
               "Next is a + YaRN with 3.000; not every value has an interval, so this order is uncertain.");
    json_object_set_new(yarn, "perplexity", json_real(2.0));
    b.size = 0;
    report_html(r, &b);
    assert_has(&b, "a + YaRN and b share the lowest perplexity, 2.000.");
    buffer_free(&b);
    json_decref(r);
}

static void every_number_has_a_line_in_the_csv(void **state) {
    (void)state;
    Buffer b = {0};
    json_t *r = parse(small);
    report_csv(r, &b);
    assert_string_equal(
        buffer_string(&b),
        "table,model,method,softmax_scale,task,length,times_context,depth,position,metric,value,low,high,n\n"
        "perplexity,a,none,,,512,2,,,perplexity,4,3.5,4.5,\n"
        "perplexity,a,yarn,,,512,2,,,perplexity,3,2.8,3.2,\n"
        "perplexity,b,none,,,256,1,,,perplexity,2.05,2,2.15,\n"
        "perplexity,b,none,1,,512,2,,,perplexity,2,1.9,2.1,1024\n"
        "perplexity,b,none,1,,512,2,,,nll,0.7,,,1024\n"
        "position,b,none,1,,512,2,,256,nll,0.8,,,\n"
        "position,b,none,1,,512,2,,512,nll,0.6,,,\n"
        "task,b,none,,needle,512,2,0,,score,0.5,0.24,0.76,10\n"
        "task,b,none,,needle,512,2,0,,first,0.9,0.6,0.98,10\n"
        "task,b,none,,needle,512,2,0,,mean_rank,1.5,,,10\n"
        "task,b,none,,needle,512,2,0,,candidates,10,,,10\n"
        "task,b,none,,needle,512,2,1,,score,1,0.72,1,10\n"
        "task,b,none,,needle,512,2,1,,candidates,10,,,10\n"
        "recalibration,b,,,distill,,,,,loss,2.5,,,4096\n"
        "recalibration,b,,,distill,,,,,loss,1.5,,,8192\n");
    buffer_free(&b);
    json_decref(r);
}

static void the_card_has_front_matter(void **state) {
    (void)state;
    Buffer b = {0};
    json_t *r = parse(small);
    json_t *front =
        parse("{'base_model': 'org/a', 'license': 'apache-2.0', 'language': ['en', 'no'],"
              " 'tags': ['llama'], 'library_name': 'transformers', 'inference': false, 'odd': {'x': 1},"
              " 'bad\\nkey': 'x', 'empty': [], 'model': 'b'}");
    report_card(r, front, &b);
    static const char expected[] = "---\n"
                                   "base_model: org/a\n"
                                   "license: apache-2.0\n"
                                   "language:\n- en\n- \"no\"\n"
                                   "library_name: transformers\n"
                                   "inference: false\n"
                                   "tags:\n- llama\n- derope\n"
                                   "metrics:\n- perplexity\n- accuracy\n"
                                   "model-index:\n- name: b\n  results:\n"
                                   "  - task:\n      type: text-generation\n      name: Text generation\n"
                                   "    dataset:\n      type: text\n      name: held-out.txt\n    metrics:\n"
                                   "    - type: perplexity\n      value: 2.05\n"
                                   "      name: \"Perplexity at 256 tokens\"\n"
                                   "    - type: perplexity\n      value: 2.0\n"
                                   "      name: \"Perplexity at 512 tokens\"\n"
                                   "  - task:\n      type: text-generation\n      name: Text generation\n"
                                   "    dataset:\n      type: needle\n      name: \"needle (synthetic)\"\n"
                                   "    metrics:\n"
                                   "    - type: accuracy\n      value: 0.75\n"
                                   "      name: \"Exact answers at 512 tokens\"\n"
                                   "    - type: accuracy\n      value: 0.9\n"
                                   "      name: \"Right answer ranked first at 512 tokens\"\n"
                                   "---\n\n# b\n\nChanged from org/a by derope ";
    if (strncmp(buffer_string(&b), expected, strlen(expected)) != 0) fail_msg("%.2500s", buffer_string(&b));
    assert_has(&b, "](perplexity.svg)");
    assert_has(&b, "](needle.svg)");
    assert_has(&b, "| **b** | 2.050 (2.000\xe2\x80\x93"
                   "2.150) |");
    assert_has(&b, "```\nderope eval a b\n```\n");
    json_object_clear(r);
    b.size = 0;
    report_card(r, NULL, &b);
    assert_has(&b, "---\ntags:\n- derope\n---\n\n# Evaluation\n");
    assert_lacks(&b, ".svg");
    buffer_free(&b);
    json_decref(r);
    json_decref(front);
}

static void pictures_stand_alone(void **state) {
    (void)state;
    json_t *r = parse(small), *none = json_object();
    static const char *const names[] = {"perplexity", "needle"};
    for (size_t i = 0; i < 2; i++) {
        Buffer b = {0};
        report_picture(r, names[i], &b);
        assert_int_equal(strncmp(buffer_string(&b), "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39), 0);
        assert_has(&b, "role=\"img\"");
        assert_has(&b, "prefers-color-scheme:dark");
        assert_balanced(&b);
        b.size = 0;
        report_picture(none, names[i], &b);
        report_picture(r, "other", &b);
        assert_int_equal(b.size, 0);
        buffer_free(&b);
    }
    json_decref(r);
    json_decref(none);
}

static void everything(const json_t *r, const json_t *front) {
    Buffer b = {0};
    report_html(r, &b);
    assert_balanced(&b);
    assert_lacks(&b, "nan");
    assert_lacks(&b, "inf\"");
    b.size = 0;
    report_csv(r, &b);
    b.size = 0;
    report_card(r, front, &b);
    b.size = 0;
    report_picture(r, "perplexity", &b);
    assert_balanced(&b);
    b.size = 0;
    report_picture(r, "needle", &b);
    assert_balanced(&b);
    buffer_free(&b);
}

/* Puts `odd` into the place number *at of `v`, counting places depth first; false if there are fewer places.
 */
static bool spoil(json_t *v, const json_t *odd, size_t *at) {
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_object(v)) {
        json_object_foreach(v, key, item) {
            if (!(*at)--) return json_object_set(v, key, (json_t *)odd) == 0;
            if (spoil(item, odd, at)) return true;
        }
    } else if (json_is_array(v)) {
        json_array_foreach(v, i, item) {
            if (!(*at)--) return json_array_set(v, i, (json_t *)odd) == 0;
            if (spoil(item, odd, at)) return true;
        }
    }
    return false;
}

static void odd_json_is_skipped(void **state) {
    (void)state;
    json_t *good = parse(small);
    json_t *odd =
        parse("[null, true, -1, 0, 1e308, -1e308, 1e-300, 9223372036854775807, '', '</svg><script>', [], {},"
              " [[]], [{}], {'model': 'x'}]");
    for (size_t i = 0; i < json_array_size(odd); i++) {
        const json_t *value = json_array_get(odd, i);
        everything(value, value);
        for (size_t at = 0;; at++) {
            json_t *copy = json_deep_copy(good);
            size_t left = at;
            bool there = spoil(copy, value, &left);
            if (there) everything(copy, value);
            json_decref(copy);
            if (!there) break;
        }
    }
    everything(NULL, NULL);
    json_decref(good);
    json_decref(odd);
}

static void hostile_names_stay_text(void **state) {
    (void)state;
    json_t *r = parse(small);
    const char *evil = "</title><script>alert(1)</script>\"'&|`\n---\n[x](javascript:1)";
    json_t *name = json_string(evil);
    json_object_set(json_array_get(json_object_get(r, "models"), 1), "name", name);
    json_object_set(json_array_get(json_object_get(r, "tasks"), 0), "task", name);
    json_object_set(r, "command", name);
    json_t *front = json_object();
    json_object_set(front, "license", name);
    Buffer b = {0};
    report_html(r, &b);
    assert_lacks(&b, "<script");
    assert_balanced(&b);
    b.size = 0;
    report_picture(r, "perplexity", &b);
    assert_lacks(&b, "<script");
    b.size = 0;
    report_card(r, front, &b);
    assert_has(&b, "license: \"</title><script>alert(1)</script>\\\"'&|`\\n---\\n[x](javascript:1)\"\n");
    assert_has(
        &b,
        "# &lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;\"'&amp;\\|\\` --- \\[x\\](javascript:1)\n");
    buffer_free(&b);
    json_decref(front);
    json_decref(name);
    json_decref(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_escaped_for_xml),
        cmocka_unit_test(text_is_escaped_for_csv),
        cmocka_unit_test(text_is_escaped_for_markdown),
        cmocka_unit_test(text_is_escaped_for_yaml),
        cmocka_unit_test(numbers_read_well),
        cmocka_unit_test(axes_have_round_ticks),
        cmocka_unit_test(sections_follow_the_data),
        cmocka_unit_test(the_summary_claims_what_intervals_support),
        cmocka_unit_test(every_number_has_a_line_in_the_csv),
        cmocka_unit_test(the_card_has_front_matter),
        cmocka_unit_test(pictures_stand_alone),
        cmocka_unit_test(odd_json_is_skipped),
        cmocka_unit_test(hostile_names_stay_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
