/* finetune_job.h - what the parts of the main job share: opening (finetune.c), the loop
 * (finetune_loop.c). */
#ifndef NIB_JOB_FINETUNE_JOB_H
#define NIB_JOB_FINETUNE_JOB_H

#include "adapter/adapter.h"
#include "job/rundir.h"
#include "nibble/finetune.h"
#include "train/trainer.h"

enum { NIB_SETTINGS_ROOM = 4096 };

typedef struct nib_finetune_job {
    nib_ctx *ctx;
    const nib_finetune_options *o;
    nib_rundir dir;
    nib_tokenizer *tokenizer;
    nib_model *model;
    nib_adapter *adapter;
    nib_dataset *data;
    nib_trainer *trainer;
    nib_memory_plan plan;
    double trial_seconds;
    char settings[NIB_SETTINGS_ROOM];
} nib_finetune_job;

/* Trains from the trainer's step to the last one, saving on the way, and writes the adapter. */
nib_status nib_finetune_train(nib_finetune_job *j, nib_error *err);

#endif
