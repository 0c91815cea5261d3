/* Fuzz target: recipes in YAML. What is refused must be refused with ERR_RECIPE. */
#include "cmd/recipe/recipe.h"
#include "tests/fuzz/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char path[64];
    Error e = {0};
    int fd = memory_file(data, n, path);
    json_t *recipe = recipe_load(path, NULL, 0, &e);
    if (!recipe) expect(e.code == ERR_RECIPE, "no refusal", &e);
    json_decref(recipe);
    close(fd);
    return 0;
}
