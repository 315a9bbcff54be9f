// Rows of [checkpoint], [parallelism], [comm] and [preprocessing].
#include "config/section.h"

namespace flux::config {
namespace {

void describe_checkpoint(std::vector<Option>& table) {
    Section<Checkpoint> s("checkpoint", &JobConfig::checkpoint);
    s.row(&Checkpoint::enable_checkpoint, "enable_checkpoint",
          {.help = "Save checkpoints while training", .aliases = {"checkpoint.enable"}});
    s.row(&Checkpoint::folder, "folder",
          {.help = "Folder below job.dump_folder for checkpoints", .required = true});
    s.row(&Checkpoint::interval, "interval",
          {.help = "Steps between checkpoints", .unit = "steps", .range = at_least(1)});
    s.row(&Checkpoint::keep_latest_k, "keep_latest_k",
          {.help = "Checkpoints that stay on disk, at least 2; 0 keeps all", .range = at_least(0)});
    s.row(&Checkpoint::load_step, "load_step",
          {.help = "Step to go on from, for one start: given again, it goes back again; -1 is the "
                   "newest",
           .unit = "steps",
           .range = at_least(-1)});
    s.row(&Checkpoint::exclude_from_loading, "exclude_from_loading",
          {.help = "Parts of a checkpoint that are not loaded but begin anew: optimizer (moments), "
                   "lr_scheduler (the learning rate's course), dataloader (the order of "
                   "samples), ema (the averaged weights)"});
    s.row(&Checkpoint::model_weights_only, "model_weights_only",
          {.help = "The last checkpoint holds only the weights and, with training.ema_decay, their "
                   "average",
           .aliases = {"checkpoint.last_save_model_only"}});
    s.row(&Checkpoint::export_dtype, "export_dtype",
          {.help = "Type of the weights in a last checkpoint that holds only them"});
    s.row(&Checkpoint::async_mode, "async_mode",
          {.help = "Save while training goes on: the state is copied to host memory (page-locked "
                   "with async_with_pinned_mem) and written from there"});
    s.row(&Checkpoint::create_seed_checkpoint, "create_seed_checkpoint",
          {.help = "Save the fresh model as step 0 and end; the same command without it goes on "
                   "from there"});
    s.append_to(table);
}

void describe_sharding(Section<Parallelism>& s) {
    s.row(&Parallelism::data_parallel_replicate_degree, "data_parallel_replicate_degree",
          {.help = "Copies of the sharded model", .unit = "processes", .range = at_least(1, 1e6)});
    s.row(&Parallelism::data_parallel_shard_degree, "data_parallel_shard_degree",
          {.help = "Processes that share one copy of the model; -1: all there are",
           .unit = "processes",
           .range = at_least(-1, 1e6)});
    s.row(&Parallelism::fsdp_reshard_after_forward, "fsdp_reshard_after_forward",
          {.help = "always keeps only fsdp_prefetch_params + 1 units' weights in the compute type "
                   "and gathers them again when they are needed, which saves memory; never keeps "
                   "all of them; default: always for a sharded model, else never",
           .words_for_bool = {"never", "always"}});
    s.row(&Parallelism::fsdp_prefetch_params, "fsdp_prefetch_params",
          {.help = "Units whose weights are gathered ahead of the running one",
           .unit = "units",
           .range = at_least(0, 1000)});
    s.row(&Parallelism::fsdp_overlap_comm, "fsdp_overlap_comm",
          {.help = "Gather weights and reduce gradients while computing"});
}

void describe_tensor_and_context(Section<Parallelism>& s) {
    const Range degree = at_least(1, 1e6);
    s.row(&Parallelism::tensor_parallel_degree, "tensor_parallel_degree",
          {.help = "Processes that share each layer",
           .unit = "processes",
           .range = degree,
           .status = not_built("tensor parallelism")});
    s.row(&Parallelism::disable_loss_parallel, "disable_loss_parallel",
          {.help = "Compute a language model's loss unsharded",
           .status = no_meaning("the loss of this model is never sharded")});
    s.row(&Parallelism::enable_async_tensor_parallel, "enable_async_tensor_parallel",
          {.help = "Overlap tensor-parallel exchange with computing",
           .status = not_built("tensor parallelism")});
    s.row(&Parallelism::context_parallel_degree, "context_parallel_degree",
          {.help = "Processes that share each sequence",
           .unit = "processes",
           .range = degree,
           .status = not_built("context parallelism")});
    s.row(&Parallelism::context_parallel_rotate_method, "context_parallel_rotate_method",
          {.help = "How keys and values travel between them",
           .required = true,
           .one_of = {"allgather", "alltoall"},
           .status = used_with("parallelism.context_parallel_degree")});
    s.row(&Parallelism::enable_compiled_autograd, "enable_compiled_autograd",
          {.help = "Compile PyTorch's backward pass",
           .status = no_meaning("the backward pass runs on its own schedule")});
}

void describe_pipeline(Section<Parallelism>& s) {
    const Status with_degree = used_with("parallelism.pipeline_parallel_degree");
    s.row(&Parallelism::pipeline_parallel_degree, "pipeline_parallel_degree",
          {.help = "Processes that share the layers one after another",
           .unit = "processes",
           .range = at_least(1, 1e6),
           .status = not_built("pipeline parallelism")});
    s.row(&Parallelism::pipeline_parallel_split_points, "pipeline_parallel_split_points",
          {.help = "Modules that begin a stage", .status = with_degree});
    s.row(&Parallelism::pipeline_parallel_layers_per_stage, "pipeline_parallel_layers_per_stage",
          {.help = "Layers of a stage", .range = at_least(1), .status = with_degree});
    s.row(&Parallelism::pipeline_parallel_schedule, "pipeline_parallel_schedule",
          {.help = "Name of the schedule", .required = true, .status = with_degree});
    s.row(&Parallelism::pipeline_parallel_schedule_csv, "pipeline_parallel_schedule_csv",
          {.help = "File with a schedule of your own", .status = with_degree});
    s.row(&Parallelism::pipeline_parallel_microbatch_size, "pipeline_parallel_microbatch_size",
          {.help = "Samples that travel together",
           .unit = "samples",
           .range = at_least(1),
           .status = with_degree});
}

void describe_comm(std::vector<Option>& table) {
    Section<Comm> s("comm", &JobConfig::comm);
    s.row(&Comm::init_timeout_seconds, "init_timeout_seconds",
          {.help = "Longest wait for another process up to the end of the first step",
           .unit = "seconds",
           .range = at_least(1, 1e6)});
    s.row(&Comm::train_timeout_seconds, "train_timeout_seconds",
          {.help = "Longest wait for another process afterwards",
           .unit = "seconds",
           .range = at_least(1, 1e6)});
    s.row(&Comm::trace_buf_size, "trace_buf_size",
          {.help = "Entries of the NCCL flight recorder",
           .range = at_least(0),
           .status = no_meaning("a lost process is found by its heartbeat")});
    s.append_to(table);
}

void describe_preprocessing(std::vector<Option>& table) {
    Section<Preprocessing> s("preprocessing", &JobConfig::preprocessing);
    s.row(&Preprocessing::output_dataset_path, "output_dataset_path",
          {.help = "Folder for the encoded data set",
           .required = true,
           .status = used_with("`flux_train preprocess`")});
    s.row(&Preprocessing::file_size_mb, "file_size_mb",
          {.help = "Size of its files before compression, at least one sample each; a killed run "
                   "loses no more than the file it was at",
           .unit = "MB",
           .range = at_least(1, 1e6),
           .status = used_with("`flux_train preprocess`")});
    s.row(&Preprocessing::compression, "compression",
          {.help = "Of its files: none, which is read fastest, or zstd",
           .required = true,
           .one_of = {"none", "zstd"},
           .status = used_with("`flux_train preprocess`")});
    s.append_to(table);
}

}  // namespace

void describe_infrastructure(std::vector<Option>& table) {
    describe_checkpoint(table);
    Section<Parallelism> s("parallelism", &JobConfig::parallelism);
    describe_sharding(s);
    describe_tensor_and_context(s);
    describe_pipeline(s);
    s.append_to(table);
    describe_comm(table);
    describe_preprocessing(table);
}

}  // namespace flux::config
