/* test_optimizer.c - the optimizer by itself: ten steps of 8-bit AdamW as bitsandbytes made them,
 * learning rates as transformers has them, rates and decay of each kind of parameter, and states in
 * a map of a file: the same bits, file-backed in smaps, refused where a file lies in memory. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "format/safetensors.h"
#include "test.h"
#include "train/checkpoint.h"

static nib_train_options options(const char *optim)
{
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.train.optim = optim;
    o.train.learning_rate = 2e-4;
    return o.train;
}

/* --- against bitsandbytes (tests/golden/make/optimizer_golden.py) --- */

enum { COUNT = 4096 + 300, STEPS = 10 };

static void fill(float *x, uint32_t *state, bool scaled)
{
    for (int i = 0; i < COUNT; i++) {
        *state = *state * 1664525 + 1013904223;
        x[i] = (float)(*state >> 8) * 0x1p-23f - 1;
        if (scaled) x[i] = i % 11 == 0 || i / 256 == 3 ? 0 : ldexpf(x[i], -(i % 13));
    }
}

static void compare(const nib_tensors *golden, const nib_optimizer *o, const char *isa)
{
    for (size_t i = 0; i < nib_optimizer_states(o); i++) {
        nib_optimizer_state s = nib_optimizer_state_at(o, i);
        const nib_tensor *t = nib_tensors_find(golden, s.name);
        REQUIRE(t && t->bytes == s.bytes && t->dtype == s.dtype,
                "%s is not in the golden file like this", s.name);
        CHECK(memcmp(t->data, s.data, s.bytes) == 0, "%s: %s differs", isa, s.name);
    }
}

static void test_bitsandbytes(void)
{
    static const char *const isas[] = { "ref", "avx2", "avx512" };
    nib_train_options t = options("adamw_bnb_8bit");
    nib_tensors *golden = NULL;
    nib_error err;

    t.learning_rate = 0.01, t.adam_beta2 = 0.98, t.adam_epsilon = 1e-6, t.weight_decay = 0.1;
    REQUIRE_OK(nib_tensors_open(test_ctx(), test_data("tests/golden/train/adamw8.safetensors"),
                                &golden, &err),
               err);
    for (size_t i = 0; i < NIB_COUNT(isas); i++) {
        uint32_t cpu = 0, state = 12345;
        nib_ctx *ctx;
        nib_params params = { 0 };
        nib_optimizer o;
        nib_kernels k;
        const nib_tensor *value = nib_tensors_find(golden, "value");
        float want[COUNT];

        nib_cpu_from_name(isas[i], &cpu);
        if ((nib_cpu_detect() & cpu) != cpu) continue;
        ctx = test_ctx_threads(2, isas[i]);
        k = nib_kernels_for(cpu);
        REQUIRE(nib_params_add(ctx, &params, "p", 1, COUNT), "no memory");
        params.items[0]->kind = NIB_PARAM_LORA_A;
        fill(params.items[0]->value, &state, false);
        REQUIRE_OK(nib_optimizer_init(ctx, &k, &params, &t, NULL, &o, &err), err);
        for (int step = 0; step < STEPS; step++) {
            fill(params.items[0]->grad, &state, true);
            nib_optimizer_step(&o, 1, 1);
        }
        compare(golden, &o, isas[i]);
        memcpy(want, value->data, sizeof want);
        /* torch's square roots are off by one place here and there */
        for (int j = 0; j < COUNT; j++)
            if (!(fabsf(params.items[0]->value[j] - want[j]) <= 1e-7f)) {
                test_fail(__FILE__, __LINE__, "%s: value %d is %.9g, expected %.9g", isas[i], j,
                          (double)params.items[0]->value[j], (double)want[j]);
                break;
            }
        nib_optimizer_free(&o);
        nib_params_free(ctx, &params);
        test_ctx_release(ctx);
    }
    nib_tensors_close(golden);
}

/* --- schedules --- */

enum { MOST_ARGUMENTS = 8 };

/* "name=value,name=value" or "-", cut in place. */
static void cut_arguments(char *text, nib_argument *out, size_t *count)
{
    *count = 0;
    if (strcmp(text, "-") == 0) return;
    for (char *p = strtok(text, ","); p; p = strtok(NULL, ",")) {
        char *value = strchr(p, '='), *end;

        REQUIRE(value && *count < MOST_ARGUMENTS, "%s: no argument", p);
        *value++ = 0;
        out[*count] = (nib_argument){ p, strtod(value, &end), NULL };
        if (*end) out[*count].text = value; /* "1-sqrt" begins like a number */
        ++*count;
    }
}

static void test_schedules(void)
{
    FILE *f = fopen(test_data("tests/golden/train/schedules.txt"), "r");
    char name[32], given[160], text[40];
    int steps, warmup, lines = 0;

    REQUIRE(f, "schedules.txt");
    for (; fscanf(f, "%31s %d %d %159s", name, &steps, &warmup, given) == 4; lines++) {
        nib_train_options t = options("adamw_torch");
        nib_argument arguments[MOST_ARGUMENTS];
        nib_schedule s;
        nib_error err;

        t.learning_rate = 3e-4;
        t.lr_scheduler_type = name;
        t.warmup_steps = warmup;
        t.lr_scheduler_kwargs = arguments;
        cut_arguments(given, arguments, &t.lr_scheduler_kwarg_count);
        REQUIRE_OK(nib_schedule_init(&t, (uint64_t)steps, &s, &err), err);
        for (int i = 0; i < steps; i++) {
            double got = nib_schedule_factor(&s, (uint64_t)i), want;
            REQUIRE(fscanf(f, "%39s", text) == 1, "%s: too short a line", name);
            want = strtod(text, NULL);
            CHECK(fabs(got - want) <= 1e-15, "%s %d %d %s, step %d: %.17g, expected %.17g", name,
                  steps, warmup, given, i, got, want);
        }
    }
    fclose(f);
    CHECK(lines == 84, "%d lines", lines);
}

/* Whether a run may be given more steps. */
static void test_agreement(void)
{
    static const nib_argument stable[] = { { "num_decay_steps", 4, NULL },
                                           { "num_stable_steps", 6, NULL } };
    struct { const char *type; size_t arguments; uint64_t steps; bool agrees; } cases[] = {
        { "constant", 0, 10, true },
        { "constant_with_warmup", 0, 10, true },
        { "inverse_sqrt", 0, 10, true },
        { "warmup_stable_decay", 2, 10, true },
        { "warmup_stable_decay", 1, 6, true }, /* the decay has not begun */
        { "warmup_stable_decay", 1, 10, false },
        { "linear", 0, 10, false },
        { "linear", 0, 3, true }, /* within the warm-up and its end */
        { "cosine", 0, 10, false },
    };

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_train_options t = options("adamw_torch");
        nib_schedule shorter, longer;
        nib_error err;

        t.lr_scheduler_type = cases[i].type;
        t.lr_scheduler_kwargs = stable;
        t.lr_scheduler_kwarg_count = cases[i].arguments;
        t.warmup_steps = 2;
        REQUIRE_OK(nib_schedule_init(&t, 10, &shorter, &err), err);
        REQUIRE_OK(nib_schedule_init(&t, 20, &longer, &err), err);
        CHECK(nib_schedule_agrees(&shorter, &longer, cases[i].steps) == cases[i].agrees,
              "%s, the first %d steps", cases[i].type, (int)cases[i].steps);
    }
}

static void test_refused(void)
{
    static const nib_argument waves = { "num_waves", 2, NULL }, cycles = { "num_cycles", 2, NULL },
                              negative = { "num_cycles", -1, NULL },
                              half = { "num_decay_steps", 2.5, NULL },
                              many = { "num_decay_steps", 0, "many" },
                              end = { "lr_end", 1, NULL }, wavy = { "decay_type", 0, "wavy" },
                              number = { "decay_type", 1, NULL },
                              both[] = { { "min_lr", 0, NULL }, { "min_lr_rate", 0, NULL } };
    struct { const char *type; const nib_argument *arguments; size_t count; const char *says; }
        bad[] = {
            { "cosine", &waves, 1, "cosine has no 'num_waves', it has num_cycles" },
            { "linear", &cycles, 1, "linear has no 'num_cycles', it has none" },
            { "constant", &cycles, 1, "constant has no" },
            { "polynomial", &cycles, 1, "polynomial has no 'num_cycles', it has lr_end, power" },
            { "cosine_with_restarts", &negative, 1, "num_cycles is -1" },
            { "wavy", NULL, 0, "'wavy', known are linear, cosine, cosine_with_restarts" },
            { "cosine_with_min_lr", NULL, 0, "needs min_lr or min_lr_rate" },
            { "cosine_with_min_lr", both, 2, "exclude each other" },
            { "polynomial", &end, 1, "lr_end 1, which must be below learning_rate" },
            { "warmup_stable_decay", NULL, 0, "needs num_decay_steps" },
            { "warmup_stable_decay", &half, 1, "num_decay_steps is 2.5, expected a whole number" },
            { "warmup_stable_decay", &many, 1, "num_decay_steps is 'many', expected a whole" },
            { "warmup_stable_decay", &wavy, 1, "decay_type is 'wavy', known are linear, cosine" },
            { "warmup_stable_decay", &number, 1, "decay_type is 'a number', known are" },
        };
    nib_train_options t;
    nib_schedule s;
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        t = options("adamw_torch");
        t.learning_rate = 1e-3;
        t.lr_scheduler_type = bad[i].type;
        t.lr_scheduler_kwargs = bad[i].arguments;
        t.lr_scheduler_kwarg_count = bad[i].count;
        CHECK(nib_schedule_init(&t, 5, &s, &err) == NIB_E_INVALID &&
                  strstr(err.message, bad[i].says),
              "%s: %s", bad[i].type, err.message);
    }
    t = options("sgd");
    CHECK(nib_optimizer_check(&t, &err) == NIB_E_INVALID &&
              strstr(err.message, "'sgd', known are adamw_torch, "),
          "%s", err.message);
    t = options("adamw_torch");
    t.loraplus_lr_ratio = 16;
    CHECK(nib_optimizer_check(&t, &err) == NIB_OK, "LoRA+");
    t.weight_decay = 0.1;
    CHECK(nib_optimizer_check(&t, &err) &&
              strstr(err.message, "the decay is loraplus_weight_decay"),
          "%s", err.message);
    t = options("adamw_torch");
    t.loraplus_weight_decay = 0.1;
    CHECK(nib_optimizer_check(&t, &err) && strstr(err.message, "without loraplus_lr_ratio"), "%s",
          err.message);
}

/* --- rate and decay by kind --- */

static void test_groups(void)
{
    static const struct { nib_param_kind kind; double decay, plus_rate, plus_decay; } want[] = {
        { NIB_PARAM_LORA_A, 0.1, 1, 0.2 }, { NIB_PARAM_LORA_B, 0.1, 16, 0.2 },
        { NIB_PARAM_LORA_EMBEDDING, 0.1, 5, 0.2 },
        { NIB_PARAM_LINEAR, 0.1, 1, 0.2 }, { NIB_PARAM_EMBEDDING, 0.1, 1, 0.2 },
        { NIB_PARAM_BIAS, 0, 16, 0 },
        { NIB_PARAM_RMS_NORM, 0, 16, 0.2 }, { NIB_PARAM_LAYER_NORM, 0, 16, 0 },
    };
    nib_train_options t = options("adamw_torch"), plus = t;

    t.learning_rate = plus.learning_rate = 1;
    t.weight_decay = 0.1;
    plus.loraplus_lr_ratio = 16, plus.loraplus_lr_embedding = 5, plus.loraplus_weight_decay = 0.2;
    for (size_t i = 0; i < NIB_COUNT(want); i++) {
        nib_param p = { .kind = want[i].kind };
        nib_moments m = { 0 };

        nib_optimizer_group(&t, &p, &m);
        CHECK(m.learning_rate == 1 && m.weight_decay == want[i].decay, "kind %d: %g, %g",
              (int)want[i].kind, m.learning_rate, m.weight_decay);
        nib_optimizer_group(&plus, &p, &m);
        CHECK(m.learning_rate == want[i].plus_rate && m.weight_decay == want[i].plus_decay,
              "kind %d with LoRA+: %g, %g", (int)want[i].kind, m.learning_rate, m.weight_decay);
    }
}

/* --- paged states --- */

typedef struct trial { nib_ctx *ctx; nib_kernels k; nib_params params; nib_optimizer o; } trial;

/* Parameters of all kinds: large enough for several tiles, for codes, too small for them, and
 * frozen. */
static bool begin(trial *t, const char *optim, const char *dir, int threads, nib_error *err)
{
    static const struct { size_t rows, cols; nib_param_kind kind; } shapes[] = {
        { 300, 701, NIB_PARAM_LORA_A }, { 90, 50, NIB_PARAM_STORED }, { 64, 64, NIB_PARAM_LORA_B },
        { 63, 65, NIB_PARAM_LORA_B },
        { 70, 60, NIB_PARAM_EMBEDDING }, { 1, 5000, NIB_PARAM_BIAS } };
    nib_train_options o = options(optim);
    uint32_t state = 7;

    o.weight_decay = 0.1;
    *t = (trial){ .ctx = test_ctx_threads(threads, NULL) };
    t->k = nib_kernels_for(nib_ctx_cpu(t->ctx));
    for (size_t i = 0; i < NIB_COUNT(shapes); i++) {
        char name[] = { 'p', (char)('0' + i), 0 };
        nib_param *p = nib_params_add(t->ctx, &t->params, name, shapes[i].rows, shapes[i].cols);
        if (!p) return false;
        p->kind = shapes[i].kind;
        for (size_t j = 0; j < nib_param_count(p); j++)
            p->value[j] = (float)((state = state * 1664525 + 1013904223) >> 8) * 0x1p-24f;
    }
    return nib_optimizer_init(t->ctx, &t->k, &t->params, &o, dir, &t->o, err) == NIB_OK;
}

static void step(trial *t)
{
    uint32_t state = (uint32_t)t->o.step;

    for (size_t i = 0; i < t->params.count; i++)
        for (size_t j = 0; j < nib_param_count(t->params.items[i]); j++)
            t->params.items[i]->grad[j] = (float)((state = state * 1664525 + 1013904223) >> 8) *
                                              0x1p-23f -
                                          1;
    nib_optimizer_step(&t->o, 0.5, 0.25);
}

static void end(trial *t)
{
    nib_optimizer_free(&t->o);
    nib_params_free(t->ctx, &t->params);
    test_ctx_release(t->ctx);
}

static bool equal(const trial *a, const trial *b)
{
    bool same = nib_optimizer_states(&a->o) == nib_optimizer_states(&b->o);

    for (size_t i = 0; i < a->params.count && same; i++)
        same = memcmp(a->params.items[i]->value, b->params.items[i]->value,
                      nib_param_count(a->params.items[i]) * sizeof(float)) == 0;
    for (size_t i = 0; i < nib_optimizer_states(&a->o) && same; i++) {
        nib_optimizer_state s = nib_optimizer_state_at(&a->o, i),
                            t = nib_optimizer_state_at(&b->o, i);
        same = s.bytes == t.bytes && memcmp(s.data, t.data, s.bytes) == 0;
    }
    return same;
}

static void test_same_bits(void)
{
    static const char *const pairs[][2] = { { "adamw_torch", "paged_adamw_32bit" },
                                            { "adamw_bnb_8bit", "paged_adamw_8bit" } };

    test_on_disk();
    for (size_t i = 0; i < NIB_COUNT(pairs); i++) {
        trial resident = { 0 }, paged = { 0 };
        nib_error err;

        REQUIRE(begin(&resident, pairs[i][0], NULL, 2, &err), "%s", err.message);
        REQUIRE(begin(&paged, pairs[i][1], test_tmpdir(), 1, &err), "%s", err.message);
        CHECK(nib_optimizer_states(&resident.o) == (i ? 3 * 6 + 2 * 2 : 5 * 2), "%zu states",
              nib_optimizer_states(&resident.o));
        for (int n = 0; n < 4; n++) {
            float frozen = resident.params.items[1]->value[17];
            step(&resident);
            step(&paged);
            CHECK(resident.params.items[1]->value[17] == frozen, "a stored weight was trained");
            CHECK(equal(&resident, &paged), "%s and %s, step %d", pairs[i][0], pairs[i][1], n + 1);
        }
        end(&resident);
        end(&paged);
    }
}

/* The line of smaps that an address lies in, and the sum of its field `key` in KiB. */
static bool find_map(const void *address, char line[512])
{
    FILE *f = fopen("/proc/self/smaps", "r");
    bool found = false;

    while (f && !found && fgets(line, 512, f)) {
        unsigned long long from, to;
        found = sscanf(line, "%llx-%llx ", &from, &to) == 2 && (uintptr_t)address >= from &&
                (uintptr_t)address < to;
    }
    if (f) fclose(f);
    return found;
}

static void test_file_backed(void)
{
    trial t = { 0 };
    nib_error err;
    char line[512];

    test_on_disk();
    REQUIRE(begin(&t, "paged_adamw_8bit", test_tmpdir(), 2, &err), "%s", err.message);
    step(&t);
    for (size_t i = 0; i < nib_optimizer_states(&t.o); i++) {
        nib_optimizer_state s = nib_optimizer_state_at(&t.o, i);
        if (s.fixed) continue;
        REQUIRE(find_map(s.data, line), "%s is not mapped", s.name);
        CHECK(strstr(line, test_tmpdir()) && strstr(line, ".nibble-") &&
                  strstr(line, "(deleted)") && strstr(line, "rw-s"),
              "%s lies in %s", s.name, line);
    }
    end(&t);
    CHECK(rmdir(test_tmpdir()) == 0 && mkdir(test_tmpdir(), 0700) == 0,
          "a file was left in the directory");
}

static void test_tmpfs(void)
{
    struct statfs info;
    trial t;
    nib_error err = { .message = "accepted" };

    if (statfs("/dev/shm", &info) || info.f_type != 0x01021994) {
        test_skip("/dev/shm is no tmpfs here");
        return;
    }
    CHECK(!begin(&t, "paged_adamw_32bit", "/dev/shm", 1, &err) && err.status == NIB_E_INVALID &&
              strstr(err.message, "/dev/shm: lies on tmpfs"),
          "%s", err.message);
    end(&t);
    CHECK(!begin(&t, "paged_adamw_32bit", "/nowhere", 1, &err) && strstr(err.message, "/nowhere"),
          "%s", err.message);
    end(&t);
}

static void test_bytes(void)
{
    uint64_t bytes[4], paged[4];
    static const char *const kinds[] = { "adamw_torch", "paged_adamw_32bit", "adamw_bnb_8bit",
                                         "paged_adamw_8bit" };
    trial t;
    nib_error err;
    size_t elements = 300 * 701 + 64 * 64 + 63 * 65 + 70 * 60 + 5000;

    REQUIRE(begin(&t, "adamw_torch", NULL, 1, &err), "%s", err.message);
    for (int i = 0; i < 4; i++) {
        nib_train_options o = options(kinds[i]);
        bytes[i] = nib_optimizer_bytes(&t.params, &o, &paged[i]);
    }
    end(&t);
    CHECK(bytes[0] >= 8 * elements && bytes[0] < 8 * elements + 2048 && paged[0] == 0, "%d",
          (int)bytes[0]);
    CHECK(paged[1] + bytes[1] == bytes[0] && bytes[1] < 1024, "%d, %d", (int)bytes[1],
          (int)paged[1]);
    elements = 2 * (300 * 701 + 64 * 64 + 5000) + 8 * (63 * 65 + 70 * 60); /* and 8 bytes a block */
    CHECK(paged[3] >= elements && paged[3] < elements + 8 * (elements / 512 + 8) + 2048, "%d",
          (int)paged[3]);
    CHECK(bytes[2] == bytes[3] + paged[3] && paged[2] == 0, "%d, %d", (int)bytes[2], (int)bytes[3]);
}

/* --- in checkpoints --- */

/* Into a checkpoint and back: the same states, whichever of the two forms reads them. */
static void test_checkpoints(void)
{
    trial a = { 0 }, b = { 0 }, other = { 0 };
    nib_error err;
    float *scale;

    test_on_disk();
    REQUIRE(begin(&a, "paged_adamw_8bit", test_tmpdir(), 2, &err), "%s", err.message);
    REQUIRE(begin(&b, "adamw_bnb_8bit", NULL, 2, &err), "%s", err.message);
    REQUIRE(begin(&other, "adamw_torch", NULL, 2, &err), "%s", err.message);
    step(&a);
    step(&a);
    step(&b);
    REQUIRE_OK(nib_checkpoint_write_optimizer(a.ctx, test_tmpdir(), &a.o, &err), err);
    REQUIRE_OK(nib_checkpoint_read_optimizer(b.ctx, test_tmpdir(), &b.o, 2, &err), err);
    for (size_t i = 0; i < a.params.count; i++)
        memcpy(b.params.items[i]->value, a.params.items[i]->value,
               nib_param_count(a.params.items[i]) * sizeof(float));
    step(&a);
    step(&b);
    CHECK(equal(&a, &b), "other states after reading them");
    CHECK(nib_checkpoint_read_optimizer(other.ctx, test_tmpdir(), &other.o, 2, &err) ==
                  NIB_E_MISMATCH &&
              strstr(err.message, "p0.exp_avg is missing"),
          "%s", err.message);
    scale = nib_optimizer_state_at(&a.o, 3).data; /* absmax2 of p0 */
    *scale = -1;
    REQUIRE_OK(nib_checkpoint_write_optimizer(a.ctx, test_tmpdir(), &a.o, &err), err);
    CHECK(nib_checkpoint_read_optimizer(b.ctx, test_tmpdir(), &b.o, 2, &err) == NIB_E_FORMAT &&
          strstr(err.message, "p0.absmax2 holds a value that is negative"), "%s", err.message);
    *scale = 1;
    a.o.maps->v.values[9] += 1;
    REQUIRE_OK(nib_checkpoint_write_optimizer(a.ctx, test_tmpdir(), &a.o, &err), err);
    CHECK(nib_checkpoint_read_optimizer(b.ctx, test_tmpdir(), &b.o, 2, &err) == NIB_E_MISMATCH &&
          strstr(err.message, "qmap2 is not the map of codes"), "%s", err.message);
    end(&a);
    end(&b);
    end(&other);
}

int main(void)
{
    static const test_case cases[] = {
        { "bitsandbytes", test_bitsandbytes }, { "schedules", test_schedules },
        { "agreement", test_agreement },
        { "refused", test_refused }, { "groups", test_groups },
        { "same_bits", test_same_bits }, { "file_backed", test_file_backed },
        { "tmpfs", test_tmpfs }, { "checkpoints", test_checkpoints }, { "bytes", test_bytes },
    };
    return test_main("optimizer", cases, NIB_COUNT(cases));
}
