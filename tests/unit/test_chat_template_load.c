#include "tests/check.h"

#include "io/model_source.h"
#include "tests/gguf_image.h"
#include "tests/temp_folder.h"

#include <stdlib.h>

typedef struct fixture {
    char dir[TEMP_PATH_SIZE];
} fixture;

static int set_up(void **state) {
    fixture *at = calloc(1, sizeof *at);
    temp_folder_create(at->dir);
    *state = at;
    return 0;
}

static int tear_down(void **state) {
    fixture *at = *state;
    temp_folder_remove(at->dir);
    free(at);
    return 0;
}

static void write_text(const fixture *at, const char *name, const char *text) {
    char path[TEMP_PATH_SIZE];
    temp_write(temp_path(path, at->dir, name), text, strlen(text));
}

/* The folder's template is `expected`, or none. */
static void check_template(const fixture *at, const char *expected) {
    char *text = NULL;
    assert_int_equal(sp_chat_template_load(&text, at->dir), SP_OK);
    if (expected != NULL)
        assert_string_equal(text, expected);
    else
        assert_null(text);
    free(text);
}

static void a_folder_has_its_template_in_one_of_two_files(void **state) {
    const fixture *at = *state;
    check_template(at, NULL);
    write_text(at, "tokenizer_config.json", "{\"bos_token\": \"<s>\", \"chat_template\": null}");
    check_template(at, NULL);
    write_text(at, "tokenizer_config.json", "{\"chat_template\": \"{{ a }}\\n\"}");
    check_template(at, "{{ a }}\n");
    write_text(at, "chat_template.jinja", "{{ b }}\n");
    check_template(at, "{{ b }}\n");
}

static void of_several_templates_the_default_one_counts(void **state) {
    const fixture *at = *state;
    write_text(at, "tokenizer_config.json",
               "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"}, 3,"
               " {\"name\": \"default\", \"template\": \"d\"}]}");
    check_template(at, "d");
    write_text(at, "tokenizer_config.json", "{\"chat_template\": [{\"name\": \"tool_use\"}]}");
    check_template(at, NULL);
    write_text(at, "tokenizer_config.json", "{\"chat_template\": [{\"name\": \"default\"}]}");
    check_template(at, NULL);
}

static void a_gguf_file_has_its_template_in_its_metadata(void **state) {
    const fixture *at = *state;
    char path[TEMP_PATH_SIZE];
    char *text = NULL;
    gguf_image image = {0};
    gguf_header(&image, 3, 0, 1);
    gguf_string_field(&image, "tokenizer.chat_template", "{{ g }}");
    temp_write(temp_path(path, at->dir, "model.gguf"), image.bytes, image.n_bytes);
    assert_int_equal(sp_chat_template_load(&text, path), SP_OK);
    assert_string_equal(text, "{{ g }}");
    free(text);
}

static void a_damaged_tokenizer_config_is_refused(void **state) {
    const fixture *at = *state;
    char *text = NULL;
    write_text(at, "tokenizer_config.json", "{\"chat_template\": ");
    assert_int_equal(sp_chat_template_load(&text, at->dir), SP_BAD_DATA);
    assert_null(text);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(a_folder_has_its_template_in_one_of_two_files),
        WITH_FOLDER(of_several_templates_the_default_one_counts),
        WITH_FOLDER(a_gguf_file_has_its_template_in_its_metadata),
        WITH_FOLDER(a_damaged_tokenizer_config_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
