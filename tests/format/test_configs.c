/* test_configs.c - a folder whose README.md has `configs`: the files that datasets 5.0.1 reads, in
 * its order; what must be chosen; patterns. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/record_configs.h"
#include "format/records.h"
#include "test.h"

static char *put(const char *name, const char *text)
{
    static char path[400];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", test_tmpdir(), name);
    for (char *slash = strchr(path + strlen(test_tmpdir()) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    f = fopen(path, "w");
    if (!f || fputs(text, f) < 0 || fclose(f)) abort();
    return path;
}

static void put_files(void)
{
    static const char *const names[] = { "good/a.jsonl", "good/b.jsonl", "raw/b.jsonl",
                                         "v2/train.jsonl", "v2/test.jsonl" };

    for (size_t i = 0; i < NIB_COUNT(names); i++) put(names[i], "{\"a\": 1}\n");
}

/* The files, by blanks, or the error. */
static const char *files(const char *config, const char *split)
{
    static char text[1000];
    static nib_error err;
    size_t top = strlen(test_tmpdir()) + 1;
    nib_records *r = NULL;
    nib_records_options o = { .path = test_tmpdir(), .config = config, .split = split };

    if (nib_records_open(test_ctx(), &o, &r, &err)) return err.message;
    *text = 0;
    for (size_t i = 0; i < nib_records_file_count(r); i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "",
                 nib_records_file(r, i) + top);
    nib_records_close(r);
    return text;
}

#define CHECK_FILES(readme, config, split, want) \
    do { \
        const char *got_; \
        put("README.md", readme); \
        got_ = files(config, split); \
        CHECK(strstr(got_, want) == got_ || strstr(got_, ": " want), "%s", got_); \
    } while (0)

#define CONFIG "---\nlicense: mit\nconfigs:\n- config_name: "

static void test_one_config(void)
{
    put_files();
    CHECK_FILES("# a data set without a description\n", NULL, NULL, "v2/train.jsonl");
    CHECK_FILES(CONFIG "default\n  data_files:\n  - split: train\n    path: good/*.jsonl\n---\n"
                       "# x\n",
                NULL, NULL, "good/a.jsonl good/b.jsonl");
    CHECK_FILES("\xef\xbb\xbf" CONFIG "one\r\n  data_files: good/a.*\r\nlanguage: [en]\r\n---\r\n",
                NULL, NULL, "good/a.jsonl");
    CHECK_FILES(CONFIG "one\n  data_files:\n  - raw/*\n  - good/b.jsonl\nx: {y: &a 1, z: *a}\n"
                       "---\n",
                NULL, "train", "raw/b.jsonl good/b.jsonl");
    CHECK_FILES(CONFIG "one\n  data_files:\n  - split: train\n    path: [good/b.jsonl, good/*]\n"
                       "---\n",
                NULL, NULL, "good/b.jsonl good/a.jsonl");
    CHECK_FILES(CONFIG "one\n  data_dir: v2\n---\n", NULL, "test", "v2/test.jsonl");
    CHECK_FILES(CONFIG "one\n  data_dir: v2\n  data_files: t*.jsonl\n---\n",
                NULL, NULL, "v2/test.jsonl v2/train.jsonl");
    CHECK_FILES(CONFIG "one\n  data_files:\n  - split: train\n    path: good/*\n"
                       "  - split: test\n    path: raw/*\n---\n",
                NULL, "test", "raw/b.jsonl");
}

static void test_several_configs(void)
{
    static const char two[] = CONFIG "clean\n  data_files: good/*\n"
                                     "- config_name: raw\n  data_files: raw/*\n---\n";

    put_files();
    CHECK_FILES(two, NULL, NULL, "holds 2 data sets: clean, raw; choose one with dataset_config");
    CHECK_FILES(two, "raw", NULL, "raw/b.jsonl");
    CHECK_FILES(two, "other", NULL, "dataset_config: there is no 'other', there are clean, raw");
    CHECK_FILES(CONFIG "clean\n  data_files: good/*\n- config_name: raw\n  default: true\n"
                       "  data_files: raw/*\n---\n",
                NULL, NULL, "raw/b.jsonl");
    CHECK_FILES(CONFIG "clean\n  data_files: good/a.jsonl\n- config_name: default\n"
                       "  data_files: raw/*\n---\n",
                NULL, NULL, "raw/b.jsonl");
    put(".huggingface.yaml", "configs:\n- config_name: x\n  data_files: good/b.jsonl\n");
    CHECK_FILES(two, NULL, NULL, "good/b.jsonl");
}

static void test_refused(void)
{
    put_files();
    CHECK_FILES("# x\n", "main", NULL, "dataset_config main: its README.md names no configs");
    CHECK_FILES(CONFIG "one\n  data_files: none/*\n---\n",
                NULL, NULL,
                "config one names for split train 'none/*', which is none of its 5 files");
    CHECK_FILES(CONFIG "one\n  data_files: good/*\n---\n",
                NULL, "test", "config one has no split test: there are train");
    CHECK_FILES(CONFIG "one\n  data_files: ../secret/*\n---\n",
                NULL, NULL, "config one: data_files '../secret/*' is not below the folder");
    CHECK_FILES(CONFIG "one\n  data_files: hf://datasets/x\n---\n",
                NULL, NULL, "config one: data_files 'hf://datasets/x' is not below");
    CHECK_FILES(CONFIG "one\n  data_files: []\n---\n",
                NULL, NULL, "config one: split train has an empty list of files");
    CHECK_FILES("---\nconfigs:\n- data_files: good/*\n---\n",
                NULL, NULL, "one of its configs has no config_name");
    CHECK_FILES("---\nconfigs: yes\n---\n", NULL, NULL, "configs is not a list");
    CHECK(!strstr(files(NULL, NULL), ".jsonl"), "refused");
    put("README.md", "---\nconfigs: [\n---\n");
    CHECK(strstr(files(NULL, NULL), "README.md:"), "%s", files(NULL, NULL));
}

/* As datasets' resolve_pattern() on such a folder. */
static void test_patterns(void)
{
    static const struct { const char *pattern, *path; bool is; } cases[] = {
        { "*.jsonl", "a.jsonl", true }, { "*.jsonl", "t/a.jsonl", false },
        { "**", "t/u/a.jsonl", true }, { "**/*.jsonl", "a.jsonl", true },
        { "**/a.jsonl", "xa.jsonl", false }, { "**/a.jsonl", "t/u/a.jsonl", true },
        { "t/*", "t/u/a.jsonl", false }, { "t/**", "t/u/a.jsonl", true },
        { "t/**/*", "t/a.jsonl", true }, { "k[12].jsonl", "k2.jsonl", true },
        { "k[!1].jsonl", "k1.jsonl", false }, { "k[a-c]", "kb", true },
        { "k?.jsonl", "k/.jsonl", false }, { "t", "t/a.jsonl", false },
        { "*/*.jsonl", "t/a.jsonl", true }, { "d/**/c.jsonl", "d/c.jsonl", true },
        { "**/u/**", "t/u/a.jsonl", true }, { "t*/**/a*", "train/u/v/a.jsonl", true },
        { "d/train-*", "d/train-00000-of-00001.parquet", true },
        { "**/u/*.jsonl", "u/u/u/a.jsonl", true }, { "a**b", "axb", true },
    };

    for (size_t i = 0; i < NIB_COUNT(cases); i++)
        CHECK(nib_path_matches(cases[i].pattern, cases[i].path) == cases[i].is,
              "%s, %s", cases[i].pattern, cases[i].path);
}

static void test_allocations(void)
{
    bool ended = false;
    size_t n = 1;

    put_files();
    put("README.md",
        CONFIG "one\n  data_dir: v2\n  data_files:\n  - split: train\n    path: [t*.jsonl]\n---\n");
    for (; n < 400 && !ended; n++) {
        test_heap heap = { .fail_at = n };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_record_config c = { 0 };
        nib_error err;
        nib_status status = nib_record_config_choose(ctx, test_tmpdir(), NULL, NULL, &c, &err);

        ended = heap.calls < n;
        CHECK(ended ? status == NIB_OK : status == NIB_E_NOMEM, "allocation %zu", n);
        nib_record_config_free(ctx, &c);
        CHECK(heap.live == 0, "allocation %zu: %zu blocks are left", n, heap.live);
        test_ctx_release(ctx);
    }
    CHECK(ended && n > 8, "%zu allocations", n);
}

int main(void)
{
    static const test_case cases[] = {
        { "one_config", test_one_config }, { "several_configs", test_several_configs },
        { "refused", test_refused },       { "patterns", test_patterns },
        { "allocations", test_allocations },
    };
    return test_main("test_configs", cases, NIB_COUNT(cases));
}
