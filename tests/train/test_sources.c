/* test_sources.c - several files of data with weights: how many records of which an epoch has, the
 * same for the same seed and epoch whatever came before, and runs of them that resume to the same
 * bytes after a kill. */
#include "run_support.h"
#include "train/epochs.h"

/* A file of n records whose first tokens are first, first + 1, ... */
static const char *write_source(const char *name, size_t n, unsigned first)
{
    const char *path = run_path(name);
    FILE *f = fopen(path, "w");

    for (size_t i = 0; f && i < n; i++)
        fprintf(f, "{\"input_ids\": [%zu, %zu, 1%s]}\n", first + i, i % 7 + 2, i % 2 ? ", 5" : "");
    if (f) fclose(f);
    return path;
}

static nib_dataset *open_sources(const nib_data_source *items, size_t count, nib_error *err)
{
    nib_data_options o = { .data = items[0].path, .sources = { items, count },
                           .max_seq_length = 64 };
    nib_dataset_source source = { .options = &o, .vocabulary = 2000 };
    nib_dataset *d = NULL;

    return nib_dataset_open(test_ctx(), &source, &d, err) ? NULL : d;
}

/* How often each record of an epoch comes: times[first token]. */
static size_t count_epoch(const nib_dataset *d, bool shuffle, uint64_t seed, uint64_t epoch,
                          unsigned times[2000], uint32_t order[400])
{
    size_t n = nib_dataset_epoch(d);

    memset(times, 0, 2000 * sizeof *times);
    if (n > 400) return 0;
    nib_dataset_order(d, shuffle, seed, epoch, order);
    for (size_t i = 0; i < n; i++) times[nib_dataset_record(d, order[i]).ids[0]]++;
    return n;
}

static void test_counts(void)
{
    const nib_data_source items[] = { { write_source("new.jsonl", 20, 100), 1 },
                                      { write_source("old.jsonl", 50, 200), 0.2 },
                                      { write_source("much.jsonl", 7, 300), 2.5 } };
    static unsigned times[2000], before[2000], seen[2000];
    static uint32_t order[400], again[400];
    nib_error err = { .message = "" };
    nib_dataset *d = open_sources(items, 3, &err);
    size_t count, old = 0, same = 0;
    uint64_t tokens, targets;
    const nib_source_report *r;

    REQUIRE(d, "%s", err.message);
    r = nib_dataset_sources(d, &count);
    CHECK(count == 3 && r[0].per_epoch == 20 && r[1].records == 50 && r[1].per_epoch == 10 &&
          r[2].per_epoch == 18, "%zu sources", count); /* 17.5 to 18 */
    CHECK(nib_dataset_epoch(d) == 48 && nib_dataset_count(d) == 77 && nib_dataset_draws(d), "sums");
    nib_dataset_epoch_tokens(d, &tokens, &targets);
    CHECK(tokens == 70 + 35 + 62, "%u tokens", (unsigned)tokens); /* 3.5, 3.5 and 24/7 each */
    for (uint64_t epoch = 0; epoch < 30; epoch++) {
        unsigned from_old = 0, thrice = 0, wrong = 0;
        CHECK(count_epoch(d, epoch % 2, 7, epoch, times, order) == 48, "records");
        for (unsigned t = 100; t < 120; t++) wrong += times[t] != 1;
        for (unsigned t = 200; t < 250; t++) from_old += times[t], seen[t] += times[t];
        for (unsigned t = 300; t < 307; t++) thrice += times[t] == 3, wrong += times[t] < 2;
        CHECK(!wrong && from_old == 10 && thrice == 4, "epoch %u: %u wrong, %u, %u",
              (unsigned)epoch, wrong, from_old, thrice);
        same += memcmp(times, before, sizeof times) == 0;
        memcpy(before, times, sizeof times);
    }
    for (unsigned t = 200; t < 250; t++) old += seen[t] > 0;
    CHECK(same == 0 && old >= 49, "%zu epochs as the one before, %zu of 50 records in 30 epochs",
          same, old); /* one is missed by all with 50 * 0.8^30 = 0.06 */
    count_epoch(d, true, 7, 3, before, order);
    count_epoch(d, true, 8, 3, times, again);
    CHECK(memcmp(order, again, 48 * sizeof *order) != 0, "another seed, the same records");
    count_epoch(d, true, 7, 3, times, again);
    CHECK(memcmp(order, again, 48 * sizeof *order) == 0, "not a function of seed and epoch");
    nib_dataset_close(d);
}

/* Weights of 1 are one file after the other: the order that the records of one file have. */
static void test_without_weights(void)
{
    const nib_data_source items[] = { { write_source("a.jsonl", 13, 100), 1 },
                                      { write_source("b.jsonl", 8, 200), 1 } };
    uint32_t order[21], want[21];
    nib_error err = { .message = "" };
    nib_dataset *d = open_sources(items, 2, &err), *one;
    char both[700];

    REQUIRE(d, "%s", err.message);
    snprintf(both, sizeof both, "cat %s %s > %s", items[0].path, items[1].path,
             run_path("both.jsonl"));
    REQUIRE(system(both) == 0, "%s", both);
    one = open_sources(&(nib_data_source){ run_path("both.jsonl"), 1 }, 1, &err);
    REQUIRE(one, "%s", err.message);
    CHECK(!nib_dataset_draws(d) && nib_dataset_epoch(d) == 21, "it draws");
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        nib_dataset_order(d, shuffle, 42, 5, order);
        nib_dataset_order(one, shuffle, 42, 5, want);
        CHECK(memcmp(order, want, sizeof order) == 0, "another order");
    }
    nib_dataset_close(one);
    nib_dataset_close(d);
}

/* Records that are held out are no source's any more. */
static void test_held_out(void)
{
    const nib_data_source items[] = { { write_source("a.jsonl", 30, 100), 1 },
                                      { write_source("b.jsonl", 10, 200), 0.5 } };
    nib_error err = { .message = "" };
    nib_dataset *d = open_sources(items, 2, &err), *held = NULL;
    static unsigned times[2000];
    static uint32_t order[400];
    const nib_source_report *r;
    size_t count, from_b = 0;

    REQUIRE(d, "%s", err.message);
    REQUIRE_OK(nib_dataset_hold_out(d, 12, 3, &held, &err), err);
    for (size_t i = 0; i < nib_dataset_count(held); i++)
        from_b += nib_dataset_record(held, i).ids[0] >= 200;
    r = nib_dataset_sources(d, &count);
    CHECK(count == 2 && r[0].records + r[1].records == 28 && r[1].records == 10 - from_b &&
          r[1].per_epoch == (10 - from_b + 1) / 2, "%u and %u", (unsigned)r[0].records,
          (unsigned)r[1].records);
    count_epoch(d, true, 1, 0, times, order);
    for (size_t i = 0; i < nib_dataset_count(held); i++)
        CHECK(times[nib_dataset_record(held, i).ids[0]] == 0, "a record that is held out");
    CHECK(nib_dataset_epoch(held) == 12 && !nib_dataset_sources(held, &count), "held");
    nib_dataset_close(held);
    nib_dataset_close(d);
}

static void test_refused(void)
{
    const char *a = write_source("a.jsonl", 4, 100), *none = run_write("none.jsonl", "\n");
    const struct { nib_data_source second; const char *error; } bad[] = {
        { { a, 0 }, "a.jsonl: the weight 0 is not above 0" },
        { { a, -1 }, "a.jsonl: the weight -1 is not above 0" },
        { { a, 0.0 / 0.0 }, "is not above 0" },
        { { a, 1.0 / 0.0 }, "is not above 0" },
        { { a, 0.1 }, "a.jsonl: the weight 0.1 takes none of its 4 records" },
        { { a, 1e9 }, "a.jsonl: with the weight 1e+09 an epoch has more than" },
        { { none, 1 }, "none.jsonl" },
        { { "nowhere.jsonl", 1 }, "nowhere.jsonl" },
    };

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        const nib_data_source items[] = { { a, 1 }, bad[i].second };
        nib_error err = { .message = "" };
        nib_dataset *d = open_sources(items, 2, &err);
        CHECK(!d && strstr(err.message, bad[i].error), "%s", err.message);
        nib_dataset_close(d);
    }
}

/* A text that is cut into windows, and records: whichever comes first. */
static void test_mixed_shapes(void)
{
    const char *book = run_write("book.txt", "Once upon a time.\n");
    const char *chats = write_source("chats.jsonl", 4, 100);
    nib_tokenizer *t;
    nib_error err;

    REQUIRE_OK(nib_tokenizer_open(test_ctx(), test_data("models/pico"), &t, &err), err);
    for (int i = 0; i < 2; i++) {
        const nib_data_source items[] = { { i ? book : chats, 1 }, { i ? chats : book, 0.5 } };
        nib_data_options o = { .data = items[0].path, .sources = { items, 2 },
                               .max_seq_length = 64, .skip_bad = true };
        nib_dataset_source source = { .options = &o, .tokenizer = t, .vocabulary = 2048 };
        nib_dataset *d = NULL;

        CHECK(nib_dataset_open(test_ctx(), &source, &d, &err) == NIB_E_FORMAT &&
                  strstr(err.message, "all files have one shape") &&
                  strstr(err.message, "book.txt") && strstr(err.message, "is one text") &&
                  strstr(err.message, "chats.jsonl: line 1 is"),
              "%s", d ? "accepted" : err.message);
        nib_dataset_close(d);
    }
    nib_tokenizer_close(t);
}

/* --- runs --- */

static uint64_t kill_after;
static void kill_at(void *user, const nib_step_report *r)
{
    (void)user;
    if (r->step == kill_after) raise(SIGKILL);
}

static nib_status train_here(const nib_finetune_options *o, nib_error *err)
{
    return nib_finetune(test_ctx(), o, err);
}

static nib_finetune_options mixed(const char *out, double weight)
{
    static nib_data_source items[2];
    nib_finetune_options o = run_options(out);

    items[0] = (nib_data_source){ run_write("data.jsonl", run_records), 1 };
    items[1] = (nib_data_source){ run_path("old.jsonl"), weight };
    o.data.data = items[0].path;
    o.data.sources = (nib_data_sources){ items, 2 };
    return o;
}

static void test_resumed(void)
{
    nib_finetune_options whole, o;
    nib_error err = { .message = "" };

    write_source("old.jsonl", 9, 20);
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        const char *out = shuffle ? "killed" : "killed-in-order";
        whole = mixed(shuffle ? "whole" : "whole-in-order", 0.3);
        whole.train.shuffle = shuffle;
        REQUIRE_OK(train_here(&whole, &err), err);
        for (int k = 3; k <= 6; k += 3) {
            pid_t child = fork();
            int status = 0;
            if (child == 0) {
                nib_ctx *ctx;
                o = mixed(out, 0.3);
                o.train.shuffle = shuffle;
                o.on_step = kill_at;
                kill_after = (uint64_t)k;
                if (nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) _exit(99);
                _exit(nib_finetune(ctx, &o, &err) != NIB_OK);
            }
            REQUIRE(child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status),
                    "it ended by itself with %d", status);
        }
        o = mixed(out, 0.3);
        o.train.shuffle = shuffle;
        REQUIRE_OK(train_here(&o, &err), err);
        CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"),
              "shuffle %d: a resumed run has other bytes", shuffle);
    }
}

/* Another weight is another run, which says so. */
static void test_other_weight(void)
{
    nib_finetune_options o;
    nib_error err = { .message = "" };

    write_source("old.jsonl", 9, 20);
    o = mixed("out", 0.3);
    REQUIRE_OK(train_here(&o, &err), err);
    o = mixed("out", 0.4);
    o.resume_from_checkpoint = "last";
    o.train.max_steps = 9;
    o.train.lr_scheduler_type = "constant";
    CHECK(train_here(&o, &err) == NIB_E_MISMATCH && strstr(err.message, "data weights"), "%s",
          err.message);
}

int main(void)
{
    static const test_case cases[] = {
        { "counts", test_counts }, { "without_weights", test_without_weights },
        { "held_out", test_held_out }, { "refused", test_refused },
        { "mixed-shapes", test_mixed_shapes }, { "resumed", test_resumed },
        { "other_weight", test_other_weight },
    };

    return test_main("sources", cases, NIB_COUNT(cases));
}
