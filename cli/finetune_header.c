/* finetune_header.c - see finetune_header.h. */
#include <math.h>
#include <string.h>

#include "finetune_header.h"

static void print_number(FILE *to, unsigned long long n) /* 3670016 as 3,670,016 */
{
    if (n >= 1000) {
        print_number(to, n / 1000);
        fprintf(to, ",%03llu", n % 1000);
    } else {
        fprintf(to, "%llu", n);
    }
}

/* 135,000,000 as 135 million. */
static void print_count(char text[40], uint64_t n)
{
    if (n >= 1000000000) snprintf(text, 40, "%.3g billion", (double)n / 1e9);
    else if (n >= 1000000) snprintf(text, 40, "%.3g million", (double)n / 1e6);
    else snprintf(text, 40, "%llu", (unsigned long long)n);
}

static void print_size(char text[40], uint64_t bytes)
{
    if (bytes >= 1ull << 30) snprintf(text, 40, "%.1f GiB", (double)bytes / 1073741824);
    else snprintf(text, 40, "%.0f MiB", mib(bytes));
}

/* Hours and minutes, "2:05"; rounded up, for nobody waits too short. */
static void print_hours(char text[40], double seconds)
{
    double minutes = ceil(seconds / 60);

    if (!(minutes < 6e7)) snprintf(text, 40, "a century and more");
    else snprintf(text, 40, "%.0f:%02.0f h", floor(minutes / 60), fmod(minutes, 60));
}

/* What happened to some records, where any of it did. */
static void print_losses(const nib_run_report *r, char *text, size_t room)
{
    const struct { uint64_t count; const char *what; } all[] = {
        { r->too_long, "too long and left out" }, { r->truncated, "cut" }, { r->empty, "empty" },
        { r->masked_out, "without a trained token" }, { r->bad, "bad" },
        { r->duplicates, "twice" }, { r->duplicate_bos, "with a BOS already" },
    };
    size_t used = 0;

    *text = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all && used < room; i++)
        if (all[i].count)
            used += (size_t)snprintf(text + used, room - used, "; %llu %s",
                                     (unsigned long long)all[i].count, all[i].what);
}

static void print_steps(const nib_run_report *r, char text[120])
{
    if (r->tokens_per_batch)
        snprintf(text, 120, "%llu steps of %d micro-batches of up to %d tokens",
                 (unsigned long long)r->steps, r->gradient_accumulation_steps, r->tokens_per_batch);
    else
        snprintf(text, 120, "%llu steps of %d x %d records", (unsigned long long)r->steps,
                 r->per_device_train_batch_size, r->gradient_accumulation_steps);
}

/* Five lines: on what, with what, what is trained, what it takes, and where it goes. */
static void print_header(session *s, const nib_finetune_options *o,
                         const nib_run_report *r)
{
    char all[40], some[40], total[40], there[40], hours[40] = "", losses[300], steps[120],
        held[60] = "", more[40] = "", length[80] = "";

    /* PEFT counts an adapter's among the model's */
    print_count(all, r->all_parameters - (o->full || o->train_head_only ? 0
                                                                        : r->trainable_parameters));
    print_count(some, r->trainable_parameters);
    print_size(total, r->plan.total);
    print_size(there, r->plan.available);
    print_losses(r, losses, sizeof losses);
    print_steps(r, steps);
    if (r->fits) print_hours(hours, r->seconds_total);
    if (r->eval_records)
        snprintf(held, sizeof held, "; evaluated on %llu others",
                 (unsigned long long)r->eval_records);
    if (r->length_by_memory)
        snprintf(length, sizeof length, "; max_seq_length %d, for longer ones do not fit in memory",
                 r->max_seq_length);
    session_line(s, "base      %s: %s parameters, weights %s, computed in %s",
                 o->model.model, all, r->weights, r->compute_dtype);
    if (o->data.sources.count > 1)
        snprintf(more, sizeof more, " and %zu more", o->data.sources.count - 1);
    session_line(s, "data      %s%s: %llu records, %s%s%s; %llu tokens an epoch, %llu of them "
                        "trained%s%s%s",
                 o->data.data, more, (unsigned long long)r->records, r->shape,
                 r->chat_template ? ", chat template " : "",
                 r->chat_template ? r->chat_template : "",
                 (unsigned long long)r->tokens_per_epoch,
                 (unsigned long long)r->supervised_per_epoch, losses, length, held);
    session_line(s, "training  %s: %s parameters (%.*g %%), %s, learning_rate %g; %s defaults",
                 r->trained, some,
                 r->trainable_parameters == r->all_parameters ? 3 : 2,
                 100 * (double)r->trainable_parameters / (double)r->all_parameters, steps,
                 r->learning_rate, r->defaults);
    if (r->fits)
        session_line(s, "needs     %s of %s of memory, about %s%s", total, there, hours,
                     r->weights_missing ? " (the weights are not there: random ones were timed)"
                                        : "");
    else
        session_line(s, "needs     %s of %s of memory: this does not fit, so no step was "
                            "tried%s%s", total, there, *r->advice ? ": " : "", r->advice);
    session_line(s, "result    %s", o->output_dir ? o->output_dir : "nowhere (a dry run)");
}

/* --verbose: every value that changes the result, all counts, and what memory is for. */
static void print_details(session *s, const nib_run_report *r)
{
    const nib_memory_plan *p = &r->plan;

    session_line(s, "%s", r->settings);
    fprintf(stderr, "trainable params: ");
    print_number(stderr, r->trainable_parameters);
    fprintf(stderr, " || all params: ");
    print_number(stderr, r->all_parameters);
    fprintf(stderr, " || trainable%%: %.4f\n",
            100 * (double)r->trainable_parameters / (double)r->all_parameters);
    session_line(
        s,
        "records: %llu truncated, %llu too long, %llu empty, %llu without a supervised token, "
        "%llu bad, %llu duplicates, %llu that began with BOS already; %llu train the end token",
        (unsigned long long)r->truncated, (unsigned long long)r->too_long,
        (unsigned long long)r->empty, (unsigned long long)r->masked_out, (unsigned long long)r->bad,
        (unsigned long long)r->duplicates, (unsigned long long)r->duplicate_bos,
        (unsigned long long)r->ends);
    session_line(
        s,
        "memory plan (%s, %s): %.1f MiB of %.0f MiB available\n  weights      %9.1f MiB\n"
        "  adapters     %9.1f MiB, with gradients and a copy of the step before\n"
        "  optimizer    %9.1f MiB\n  activations  %9.1f MiB, %s\n  scratch      %9.1f MiB\n"
        "  program      %9.1f MiB",
        r->isa, r->compute_dtype, mib(p->total), mib(p->available), mib(p->weights),
        mib(p->adapters), mib(p->optimizer), mib(p->activations),
        p->checkpointing ? "layers are run again in backward" : "products are kept",
        mib(p->scratch), mib(p->baseline));
    if (r->fits)
        session_line(s, "%.3g s a step, %.3g hours an epoch", r->seconds_per_step,
                     r->seconds_per_epoch / 3600);
    if (r->fits && r->evaluations)
        session_line(s, "%.3g s an evaluation, %llu of them", r->seconds_per_evaluation,
                     (unsigned long long)r->evaluations);
}

void print_run_header(session *s, const nib_finetune_options *o, const nib_run_report *r,
                      bool verbose)
{
    print_header(s, o, r);
    session_sources(s, r->sources, r->source_count);
    if (r->plan.paged)
        session_line(s, "          %.1f MiB of optimizer states lie in a file of the output "
                        "directory, beside that", mib(r->plan.paged));
    if (verbose) print_details(s, r);
}
