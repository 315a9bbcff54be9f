// Rows of [training], [dataloader], [optimizer], [lr_scheduler], [activation_checkpoint] and
// [kernels].
#include "config/section.h"

namespace flux::config {
namespace {

void describe_data(Section<Training>& s) {
    s.row(&Training::dataset, "dataset",
          {.help = "Data set: shapes (also dummy; drawn on the fly, needs no files); what lies at "
                   "dataset_path: webdataset (tar shards), image_folder (pictures with .txt "
                   "beside them), picture_table (save_to_disk or Parquet), preprocessed; or one "
                   "with a default path below /dataset: cc12m-test, coco (also coco-validation), "
                   "cc12m_disk, cc12m_preprocessed, coco_preprocessed; cc12m-wds is fetched",
           .required = true});
    s.row(&Training::dataset_path, "dataset_path",
          {.help = "Where the data set lies: a folder, a file, a glob or several with commas; "
                   "unset: the data set's own path"});
    s.row(&Training::subset_size, "subset_size",
          {.help = "Train on the first so many stored samples, counting those that are too small; "
                   "unset: on all",
           .unit = "samples",
           .range = at_least(1)});
    s.row(&Training::shuffle, "shuffle",
          {.help = "Order within an epoch: global mixes all samples, for which all shards are "
                   "fetched and indexed first; shards reads tar shards one after the other in a "
                   "mixed order, each mixed, and fetches the next ones meanwhile; none keeps the "
                   "stored order"});
    s.row(&Training::img_size, "img_size",
          {.help = "Side of the square pictures, a multiple of 16",
           .unit = "pixels",
           .range = at_least(16, 16384)});
    s.row(
        &Training::buckets, "buckets",
        {.help = "Aspect buckets: crop to shapes of at most img_size x img_size pixels instead of "
                 "squares, with sides in steps of 16, 64 or 128 and up to 2 x img_size; each "
                 "optimizer step takes samples of one shape; 0: off",
         .unit = "pixels",
         .range = between(0, 128)});
    s.row(&Training::max_image_pixels, "max_image_pixels",
          {.help = "A stored picture with more pixels than this counts as a bad sample",
           .unit = "pixels",
           .range = at_least(1, 1e12)});
    s.row(&Training::max_bad_fraction, "max_bad_fraction",
          {.help = "Largest share of unreadable samples; more of them end the run",
           .range = between(0, 1)});
}

void describe_steps(Section<Training>& s) {
    s.row(&Training::steps, "steps",
          {.help = "Optimizer steps to train for; must be given",
           .unit = "steps",
           .range = at_least(0)});
    s.row(&Training::batch_size, "batch_size",
          {.help = "Samples in one pass through the model, per process",
           .unit = "samples",
           .range = at_least(1, 1e6),
           .aliases = {"training.local_batch_size"}});
    s.row(&Training::global_batch_size, "global_batch_size",
          {.help = "Samples per optimizer step over all processes, a multiple of batch_size; "
                   "unset: batch_size x gradient_accumulation_steps",
           .unit = "samples",
           .range = at_least(1, 1e9)});
    s.row(&Training::gradient_accumulation_steps, "gradient_accumulation_steps",
          {.help = "Passes whose gradients make one optimizer step; follows from "
                   "global_batch_size where that is set",
           .range = at_least(1, 1e6)});
    s.row(
        &Training::max_norm, "max_norm",
        {.help = "All gradients together are scaled down to at most this norm", .range = above(0)});
    s.row(&Training::max_skipped_steps, "max_skipped_steps",
          {.help = "Steps in a row that may be skipped for a loss or gradient that is not finite; "
                   "one more ends the run",
           .unit = "steps",
           .range = at_least(0)});
}

void describe_objective(Section<Training>& s) {
    s.row(&Training::classifier_free_guidance_prob, "classifier_free_guidance_prob",
          {.help = "Probability of training on the empty caption instead",
           .range = between(0, 1),
           .aliases = {"training.classifer_free_guidance_prob"}});
    s.row(&Training::dropout_mode, "dropout_mode",
          {.help = "joint empties T5 and CLIP together (MLPerf), independent each on its own (the "
                   "default in a file with training.local_batch_size)"});
    s.row(&Training::timestep_sampling, "timestep_sampling",
          {.help = "Distribution of the training timesteps"});
    s.row(&Training::timestep_logit_mean, "timestep_logit_mean",
          {.help = "Mean before the logistic function, for logit_normal"});
    s.row(&Training::timestep_logit_std, "timestep_logit_std",
          {.help = "Standard deviation before the logistic function, for logit_normal",
           .range = above(0)});
    s.row(&Training::timestep_shift, "timestep_shift",
          {.help = "Moves timesteps towards noise: t -> s t / (1 + (s - 1) t); 1 moves nothing",
           .range = above(0)});
    s.row(&Training::guidance, "guidance",
          {.help = "Guidance strength fed to a model with guidance_embed, while it trains, is "
                   "validated and draws",
           .range = not_negative()});
    s.row(&Training::ema_decay, "ema_decay",
          {.help = "Keep an exponential moving average of the weights, such as 0.9999: after each "
                   "step it is ema_decay x average + (1 - ema_decay) x weights. Pictures drawn "
                   "while training are of the average, the validation loss is of the trained "
                   "weights; 0: off",
           .range = from_below(0, 1)});
    s.row(&Training::init_from, "init_from",
          {.help = "Published weights that a new run begins with: a safetensors file, the "
                   ".index.json of its shards, or a folder of the diffusers library; empty: "
                   "drawn from training.seed"});
}

void describe_execution(Section<Training>& s) {
    s.row(&Training::seed, "seed",
          {.help = "Fixes every random draw of the run; unset: drawn, logged and stored",
           .unit = "below 2^63",
           .range = not_negative()});
    s.row(&Training::device, "device", {.help = "auto takes a GPU when there is one"});
    s.row(&Training::mixed_precision_param, "mixed_precision_param",
          {.help = "Type the model computes in; auto is bfloat16 on a GPU, float32 on a CPU"});
    s.row(&Training::mixed_precision_reduce, "mixed_precision_reduce",
          {.help = "Type in which gradients are summed over processes"});
    s.row(&Training::deterministic, "deterministic",
          {.help = "Take only kernels whose result does not depend on timing, and fail where there "
                   "is none; slower"});
    s.row(&Training::compile, "compile",
          {.help = "On a GPU, record the whole step as a CUDA graph and start it with one call: a "
                   "graph for each shape of batch, at most 32, after two steps without; on a CPU "
                   "and with enable_cpu_offload steps run as ever, and a line says so"});
    s.row(&Training::enable_cpu_offload, "enable_cpu_offload",
          {.help = "Keep parameters, gradients and optimizer state in host memory, where the "
                   "optimizer then runs"});
    s.row(&Training::test_mode, "test_mode",
          {.help = "Use the built-in encoders whatever [encoder] says, for tests"});
    s.row(&Training::seq_len, "seq_len",
          {.help = "Sequence length of language models",
           .unit = "tokens",
           .range = at_least(1),
           .status = no_meaning("img_size and max_t5_encoding_len fix the sequence length")});
    s.row(&Training::gc_freq, "gc_freq",
          {.help = "How often Python collects garbage",
           .unit = "steps",
           .range = at_least(0),
           .status = no_meaning("a native program has no garbage collector")});
    s.row(&Training::gc_debug, "gc_debug",
          {.help = "Look for cycles when Python collects garbage",
           .status = no_meaning("a native program has no garbage collector")});
}

void describe_dataloader(std::vector<Option>& table) {
    Section<Dataloader> s("dataloader", &JobConfig::dataloader);
    s.row(&Dataloader::num_workers, "num_workers",
          {.help = "Threads that read and decode samples", .range = at_least(1, 4096)});
    s.row(&Dataloader::prefetch_factor, "prefetch_factor",
          {.help = "Batches read ahead for each of these threads",
           .unit = "batches",
           .range = at_least(1, 1e4)});
    s.row(&Dataloader::persistent_workers, "persistent_workers",
          {.help = "Keep the readers between epochs",
           .status = no_meaning("the reader threads always live as long as the run")});
    s.row(&Dataloader::cache_dir, "cache_dir",
          {.help = "Folder that keeps shards fetched over the network; empty: one for all runs "
                   "(FLUX_CACHE_DIR of the environment, else flux_train in XDG_CACHE_HOME or "
                   "~/.cache), with training.shuffle = shards cache in job.dump_folder"});
    s.row(&Dataloader::cache_size_gb, "cache_size_gb",
          {.help = "Most that this folder may hold; with training.shuffle = shards the shards "
                   "that are needed latest make room",
           .unit = "GB",
           .range = at_least(1, 1e9)});
    s.append_to(table);
}

void describe_optimizer(std::vector<Option>& table) {
    Section<Optimizer> s("optimizer", &JobConfig::optimizer);
    s.row(&Optimizer::name, "name",
          {.help = "AdamW decays weights apart from the gradient, Adam through it"});
    s.row(&Optimizer::lr, "lr",
          {.help = "Learning rate after the warm-up", .range = not_negative()});
    s.row(&Optimizer::beta1, "beta1",
          {.help = "Decay of the gradient's running mean", .range = from_below(0, 1)});
    s.row(&Optimizer::beta2, "beta2",
          {.help = "Decay of the running mean of squared gradients", .range = from_below(0, 1)});
    s.row(&Optimizer::eps, "eps",
          {.help = "Added to the denominator of an update", .range = not_negative()});
    s.row(&Optimizer::weight_decay, "weight_decay",
          {.help = "Weight decay", .range = not_negative()});
    s.row(&Optimizer::no_weight_decay, "no_weight_decay",
          {.help = "Parameters without weight decay, by patterns of their published names (* any "
                   "text, ? one character): *.bias,*norm* are biases and norms; empty: every "
                   "parameter decays, as in the reference"});
    s.row(&Optimizer::implementation, "implementation",
          {.help = "Kernels of the optimizer step",
           .status = no_meaning("there is one implementation, which is fused")});
    s.row(&Optimizer::early_step_in_backward, "early_step_in_backward",
          {.help = "Update each parameter as soon as its gradient is known",
           .status = not_built("updating during the backward pass")});
    s.append_to(table);
}

void describe_lr_scheduler(std::vector<Option>& table) {
    Section<LrScheduler> s("lr_scheduler", &JobConfig::lr_scheduler);
    s.row(&LrScheduler::warmup_steps, "warmup_steps",
          {.help = "Steps in which the learning rate rises evenly; the first has lr / warmup_steps",
           .unit = "steps",
           .range = at_least(0)});
    s.row(&LrScheduler::decay_ratio, "decay_ratio",
          {.help = "Share of all steps, at the end, in which the rate falls; 0: it stays; unset: "
                   "it falls right after the warm-up",
           .range = between(0, 1)});
    s.row(&LrScheduler::decay_type, "decay_type", {.help = "Shape of the fall"});
    s.row(&LrScheduler::lr_min, "lr_min",
          {.help = "Where the fall ends, as a share of optimizer.lr", .range = between(0, 1)});
    s.append_to(table);
}

void describe_activation_checkpoint(std::vector<Option>& table) {
    Section<ActivationCheckpoint> s("activation_checkpoint", &JobConfig::activation_checkpoint);
    s.row(&ActivationCheckpoint::mode, "mode",
          {.help = "What the backward pass computes again to save memory: nothing, every block, or "
                   "some of them"});
    s.row(
        &ActivationCheckpoint::selective_ac_option, "selective_ac_option",
        {.help = "Blocks to compute again with mode = selective: \"2\" every second, \"0.5\" this "
                 "share of them",
         .required = true});
    s.row(
        &ActivationCheckpoint::keep_results, "keep_results",
        {.help = "With kernels.fused, blocks that are computed again keep the result of their last "
                 "product beside their input, and where a CPU's attention is fused its result "
                 "too: each as large as the input, which spares a third to a half of what is "
                 "computed again. Off: the input alone, which takes the least memory"});
    s.append_to(table);
}

void describe_kernels(std::vector<Option>& table) {
    Section<Kernels> s("kernels", &JobConfig::kernels);
    s.row(&Kernels::fused, "fused",
          {.help = "Operations of the blocks, the loss and the optimizer in one pass over memory "
                   "each; off: as plain tensor operations, which are slower, keep more "
                   "activations and mean the same"});
    s.row(&Kernels::tf32, "tf32",
          {.help = "On a GPU, matrix products and convolutions in float32 take their inputs in "
                   "TF32: faster, with 10 bits of mantissa; others and CPUs do not change"});
    s.append_to(table);
}

}  // namespace

void describe_training(std::vector<Option>& table) {
    Section<Training> s("training", &JobConfig::training);
    describe_data(s);
    describe_steps(s);
    describe_objective(s);
    describe_execution(s);
    s.append_to(table);
    describe_dataloader(table);
    describe_optimizer(table);
    describe_lr_scheduler(table);
    describe_activation_checkpoint(table);
    describe_kernels(table);
}

}  // namespace flux::config
