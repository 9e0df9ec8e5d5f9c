/* optimizer_groups.c - the learning rate and the decay of each parameter.
 *
 * Trainer has two groups: with weight decay all but biases and norm weights, which have none
 * (magnitudes of DoRA have).
 * PEFT's create_loraplus_optimizer has four: B matrices and all vectors learn loraplus_lr_ratio
 * times as fast, the branches of embeddings at a rate of their own, the rest (A matrices, full
 * copies) at learning_rate; only biases and the weights of layer norms, not those of RMS norms, are
 * without decay there. Hayou, Ghosh and Yu 2024, arXiv:2402.12354. */
#include "train/optimizer.h"

static void loraplus(const nib_train_options *o, const nib_param *p, nib_moments *m)
{
    bool fast = p->kind == NIB_PARAM_LORA_B || nib_param_is_vector(p);
    bool decays = p->kind != NIB_PARAM_BIAS && p->kind != NIB_PARAM_LAYER_NORM;

    m->learning_rate = p->kind == NIB_PARAM_LORA_EMBEDDING ? o->loraplus_lr_embedding
                       : fast ? o->learning_rate * o->loraplus_lr_ratio : o->learning_rate;
    m->weight_decay = decays ? o->loraplus_weight_decay : 0;
}

void nib_optimizer_group(const nib_train_options *o, const nib_param *p, nib_moments *m)
{
    if (o->loraplus_lr_ratio > 0) {
        loraplus(o, p, m);
        return;
    }
    m->learning_rate = o->learning_rate;
    m->weight_decay = nib_param_is_vector(p) && p->kind != NIB_PARAM_MAGNITUDE ? 0
                                                                             : o->weight_decay;
}
