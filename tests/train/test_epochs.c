/* test_epochs.c - the layout of a run: transformers' order by length, micro-batches filled by
 * tokens, epochs of different numbers of steps, every record once an epoch. */
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "train/epochs.h"

/* A data set of records with these lengths. */
static nib_dataset *make_data(const unsigned *lengths, size_t n)
{
    char path[600];
    nib_data_options o = { .data = path, .max_seq_length = 1024 };
    nib_dataset *d = NULL;
    nib_error err;
    FILE *f;

    snprintf(path, sizeof path, "%s/data.jsonl", test_tmpdir());
    f = fopen(path, "w");
    for (size_t i = 0; f && i < n; i++) {
        fprintf(f, "{\"input_ids\": [1");
        for (unsigned k = 1; k < lengths[i]; k++) fprintf(f, ", %zu", i % 90 + 2);
        fprintf(f, "]}\n");
    }
    if (f) fclose(f);
    nib_dataset_source source = { .options = &o, .vocabulary = 100, .keep_all = true };
    if (nib_dataset_open(test_ctx(), &source, &d, &err)) CHECK(false, "%s", err.message);
    return d;
}

static nib_train_options train_options(int batch, int accumulation, int tokens)
{
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.train.per_device_train_batch_size = batch;
    o.train.gradient_accumulation_steps = accumulation;
    o.train.tokens_per_batch = tokens;
    return o.train;
}

static size_t read_numbers(char *text, unsigned *to, size_t most)
{
    size_t n = 0;
    for (char *save, *p = strtok_r(text, ",", &save); p && n < most; p = strtok_r(NULL, ",", &save))
        to[n++] = (unsigned)atoi(p);
    return n;
}

static void test_grouped_order(void)
{
    FILE *f = fopen(test_data("tests/golden/train/length_groups.txt"), "r");
    char line[8192], lengths_text[2048], order_text[4096];
    unsigned seed, step, lengths[400], order[400];
    int cases = 0;

    REQUIRE(f, "no golden file");
    while (fgets(line, sizeof line, f) &&
           sscanf(line, "%u %u %2047s %4095s", &seed, &step, lengths_text, order_text) == 4) {
        size_t n = read_numbers(lengths_text, lengths, 400), same = 0;
        nib_dataset *d = make_data(lengths, n);
        nib_train_options o = train_options((int)step, 1, 0);
        nib_epochs e = { 0 };
        nib_error err = { .message = "" };

        read_numbers(order_text, order, 400);
        o.seed = seed;
        o.group_by_length = true;
        if (d && nib_epochs_init(test_ctx(), d, &o, &e, &err) == NIB_OK) {
            const uint32_t *micro;
            size_t at = 0, count;
            for (uint64_t s = 0; s < e.per_epoch; s++) {
                count = nib_epochs_micro(&e, s, 0, &micro);
                for (size_t i = 0; i < count; i++) same += micro[i] == order[at++];
            }
        }
        CHECK(same == n, "seed %u, %u a step: %zu of %zu stand where transformers puts them: %s",
              seed, step, same, n, err.message);
        nib_epochs_free(&e);
        nib_dataset_close(d);
        cases++;
    }
    fclose(f);
    CHECK(cases == 5);
}

/* Walks a run step by step; every epoch has every record once, no micro-batch too many tokens. */
static void walk(nib_epochs *e, const unsigned *lengths, size_t n, unsigned budget)
{
    unsigned seen[64] = { 0 };
    uint64_t first, epoch, steps_here = 0, most = 0;

    for (uint64_t s = 0; s < e->steps; s++) {
        epoch = nib_epochs_of(e, s, &first);
        steps_here = s - first;
        CHECK(steps_here < nib_epochs_steps(e, epoch), "step %d is beyond its epoch", (int)s);
        for (uint64_t m = 0; m < e->accumulation; m++) {
            const uint32_t *order;
            size_t count = nib_epochs_micro(e, s, m, &order), tokens = 0;
            for (size_t i = 0; i < count; i++) {
                tokens += lengths[order[i]];
                CHECK(seen[order[i]]++ == epoch, "record %u in epoch %d", order[i], (int)epoch);
            }
            CHECK(count <= 1 || tokens <= budget, "%zu tokens in a micro-batch", tokens);
            CHECK(count <= e->sequences && tokens <= e->tokens, "larger than planned");
            most = tokens > most ? tokens : most;
        }
        if (s + 1 - first == nib_epochs_steps(e, epoch))
            for (size_t i = 0; i < n; i++)
                CHECK(seen[i] == epoch + 1, "record %zu is missing from epoch %d", i, (int)epoch);
    }
    CHECK(most == e->tokens, "the largest has %d tokens, planned are %zu", (int)most, e->tokens);
}

static void test_tokens_per_batch(void)
{
    static const unsigned lengths[] = { 7, 3, 9, 2, 2, 5, 14, 1, 6, 4, 8, 3, 2, 10, 5 };
    enum { N = sizeof lengths / sizeof *lengths };
    nib_dataset *d = make_data(lengths, N);
    nib_error err;
    bool differ = false;

    REQUIRE(d, "no data");
    for (int kind = 0; kind < 4; kind++) {
        nib_train_options o = train_options(2, 2, 12);
        nib_epochs e = { 0 };

        o.shuffle = kind != 1;
        o.group_by_length = kind == 2;
        o.num_train_epochs = 4;
        if (kind == 3) o.max_steps = 11;
        REQUIRE_OK(nib_epochs_init(test_ctx(), d, &o, &e, &err), err);
        walk(&e, lengths, N, 12);
        CHECK(kind == 3 ? e.steps == 11 : nib_epochs_done(&e, e.steps) == 4,
              "kind %d: %d steps, %g epochs", kind, (int)e.steps, nib_epochs_done(&e, e.steps));
        for (uint64_t i = 1; i < 4 && kind == 0; i++)
            differ = differ || nib_epochs_steps(&e, i) != e.per_epoch;
        CHECK(e.tokens == 14, "%zu tokens at most: a record longer than the limit stands alone",
              e.tokens);
        nib_epochs_free(&e);
    }
    CHECK(differ, "all epochs have the same number of steps, which proves little");
    nib_dataset_close(d);
}

/* By records the numbers are the Trainer's. */
static void test_by_records(void)
{
    static const unsigned lengths[] = { 7, 3, 9, 2, 2, 5, 14 };
    nib_dataset *d = make_data(lengths, 7);
    nib_train_options o = train_options(2, 3, 0);
    nib_epochs e = { 0 };
    nib_error err;

    o.num_train_epochs = 2.5;
    REQUIRE(d, "no data");
    REQUIRE_OK(nib_epochs_init(test_ctx(), d, &o, &e, &err), err);
    CHECK(e.per_epoch == 2 && e.steps == 5 && e.count == 3 && nib_epochs_done(&e, 5) == 2.5,
          "%d %d %d", (int)e.per_epoch, (int)e.steps, (int)e.count);
    walk(&e, lengths, 7, 1000);
    nib_epochs_free(&e);
    o.num_train_epochs = 1e300;
    CHECK(nib_epochs_init(test_ctx(), d, &o, &e, &err) == NIB_E_INVALID, "1e300 epochs");
    nib_dataset_close(d);
}

int main(void)
{
    static const test_case cases[] = { { "grouped_order", test_grouped_order },
                                       { "tokens_per_batch", test_tokens_per_batch },
                                       { "by_records", test_by_records } };
    return test_main("epochs", cases, sizeof cases / sizeof *cases);
}
