/* Tests of formats/buffer.h: growing buffers, the arena, allocation that fails, and size arithmetic that
 * reports overflow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/buffer.h"

/* AddressSanitizer ends the program when an allocation fails. With this option it returns NULL, as the C
 * library does, so that the tests below run in a sanitized build too. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}

static void grows_and_keeps(void **state) {
    (void)state;
    Buffer b = {0};
    for (int i = 0; i < 10000; i++)
        buffer_byte(&b, (uint8_t)(i * 7));
    buffer_append(&b, NULL, 0);
    buffer_append(&b, "end", 3);
    assert_int_equal(b.size, 10003);
    assert_true(b.capacity >= b.size && b.capacity < 4 * b.size);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(b.data[i], (uint8_t)(i * 7));
    assert_memory_equal(b.data + 10000, "end", 3);
    buffer_free(&b);
    assert_true(!b.data && !b.size && !b.capacity);
}

static void reserving_moves_no_more_than_it_must(void **state) {
    (void)state;
    Buffer b = {0};
    buffer_reserve(&b, 1000);
    const uint8_t *there = b.data;
    assert_true(b.capacity >= 1000 && b.size == 0);
    for (int i = 0; i < 1000; i++)
        buffer_byte(&b, 1);
    assert_ptr_equal(b.data, there);
    buffer_free(&b);
}

static void prints_and_ends_strings(void **state) {
    (void)state;
    Buffer b = {0};
    assert_string_equal(buffer_string(&b), "");
    buffer_printf(&b, "%s", "");
    assert_int_equal(b.size, 0);
    char word[301];
    memset(word, 'w', 300);
    word[300] = 0;
    buffer_printf(&b, "%d-%s", 17, word); /* longer than the first allocation */
    assert_int_equal(b.size, 303);
    assert_memory_equal(buffer_string(&b), "17-www", 6);
    assert_int_equal(strlen(buffer_string(&b)), 303);
    assert_int_equal(b.size, 303);
    buffer_free(&b);
}

static void arena_memory_is_zeroed_aligned_and_apart(void **state) {
    (void)state;
    Arena a = {0};
    enum { N = 3000 };
    static uint8_t *got[N];
    static size_t sizes[N];
    for (size_t i = 0; i < N; i++) {
        sizes[i] = i % 100 == 99 ? 20000 + i : i % 61; /* now and then one that has a block of its own */
        got[i] = arena_alloc(&a, sizes[i]);
        assert_int_equal((uintptr_t)got[i] % 16, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(got[i][k], 0);
        memset(got[i], (int)(i % 251) + 1, sizes[i]);
    }
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(got[i][k], i % 251 + 1);
    arena_free(&a);
    assert_null(a.blocks);
}

static void arena_strings(void **state) {
    (void)state;
    Arena a = {0};
    char *whole = arena_strdup(&a, "whole"), *part = arena_strndup(&a, "a\0b", 3),
         *empty = arena_strndup(&a, "", 0), *printed = arena_printf(&a, "%s.%d", "layer", 12);
    assert_string_equal(whole, "whole");
    assert_memory_equal(part, "a\0b", 4);
    assert_string_equal(empty, "");
    assert_string_equal(printed, "layer.12");
    arena_free(&a);
}

static void big_memory_is_aligned_and_reports(void **state) {
    (void)state;
    Error e = {0};
    uint8_t *p = big_alloc(1001, 7, "test", &e);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    for (size_t i = 0; i < 7007; i++)
        assert_int_equal(p[i], 0);
    free(p);
    p = big_alloc(0, 8, "test", &e); /* an empty tensor has a place too */
    assert_non_null(p);
    free(p);
    assert_int_equal(e.code, ERR_NONE);
    assert_null(big_alloc(SIZE_MAX / 2, 3, "weights", &e));
    assert_int_equal(e.code, ERR_FAILED);
    assert_string_equal(e.message, "weights: 9223372036854775807 x 3 bytes do not fit in the address space");
    assert_null(big_alloc(SIZE_MAX, 1, "weights", &e)); /* wraps when it is rounded up */
    assert_null(big_alloc_unset(SIZE_MAX / 64, 64, "weights", &e));
    assert_null(big_alloc((size_t)1 << 50, 8, "weights", &e)); /* an address, but no memory */
    assert_string_equal(e.message, "weights: not enough memory, 9007199254.7 MB are needed");
    assert_null(big_alloc(SIZE_MAX, SIZE_MAX, "weights", NULL));
}

static void arithmetic_does_not_wrap(void **state) {
    (void)state;
    uint64_t x;
    assert_true(mul_u64(UINT32_MAX, UINT32_MAX, &x) && x == 18446744065119617025u);
    assert_true(mul_u64(UINT64_MAX, 0, &x) && x == 0);
    assert_false(mul_u64((uint64_t)1 << 32, (uint64_t)1 << 32, &x));
    assert_true(add_u64(UINT64_MAX - 1, 1, &x) && x == UINT64_MAX);
    assert_false(add_u64(UINT64_MAX, 1, &x));
}

/* Asserts that `what`, run in a child process, ends it with exit status 1 and the message of out_of_memory.
 */
static void assert_gives_up(void (*what)(void)) {
    int pipes[2], status;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipes[1], STDERR_FILENO);
        what();
        _exit(0);
    }
    close(pipes[1]);
    char said[200] = "";
    ssize_t n = read(pipes[0], said, sizeof said - 1);
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(n > 0 && strstr(said, "derope: out of memory (asked for "));
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), ERR_FAILED);
}

static void reserve_too_much(void) {
    Buffer b = {.data = NULL, .size = 100, .capacity = 100};
    buffer_reserve(&b, SIZE_MAX - 50); /* 100 more than that is 49 */
}

static void allocate_too_much(void) {
    Arena a = {0};
    arena_alloc(&a, SIZE_MAX - 5); /* rounded up that is nothing */
}

static void sizes_beyond_reach_end_the_program(void **state) {
    (void)state;
    assert_gives_up(reserve_too_much);
    assert_gives_up(allocate_too_much);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_keeps),
        cmocka_unit_test(reserving_moves_no_more_than_it_must),
        cmocka_unit_test(prints_and_ends_strings),
        cmocka_unit_test(arena_memory_is_zeroed_aligned_and_apart),
        cmocka_unit_test(arena_strings),
        cmocka_unit_test(big_memory_is_aligned_and_reports),
        cmocka_unit_test(arithmetic_does_not_wrap),
        cmocka_unit_test(sizes_beyond_reach_end_the_program),
    };
    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
