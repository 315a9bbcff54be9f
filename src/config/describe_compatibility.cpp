// Rows of [profiling], [float8], [mx], [memory_estimation], [fault_tolerance] and [experimental]:
// sections that existing files hold and that this program mostly leaves alone.
#include "config/section.h"

namespace flux::config {
namespace {

void describe_profiling(std::vector<Option>& table) {
    Section<Profiling> s("profiling", &JobConfig::profiling);
    s.row(&Profiling::enable_profiling, "enable_profiling",
          {.help = "Record what runs when, in single steps, as Chrome traces"});
    s.row(&Profiling::save_traces_folder, "save_traces_folder",
          {.help = "Folder below job.dump_folder for the records", .required = true});
    s.row(&Profiling::profile_freq, "profile_freq",
          {.help = "Steps between two records", .unit = "steps", .range = at_least(1)});
    s.row(&Profiling::enable_memory_snapshot, "enable_memory_snapshot",
          {.help = "Record allocations", .status = not_built("recording allocations")});
    s.row(&Profiling::save_memory_snapshot_folder, "save_memory_snapshot_folder",
          {.help = "Folder below job.dump_folder for them",
           .required = true,
           .status = used_with("profiling.enable_memory_snapshot")});
    s.append_to(table);
}

void describe_float8(std::vector<Option>& table) {
    const Status missing = not_built("the exchange of weights in 8-bit floating point");
    Section<Float8> s("float8", &JobConfig::float8);
    s.row(&Float8::enable_fsdp_float8_all_gather, "enable_fsdp_float8_all_gather",
          {.help = "Gather weights in FP8; they are gathered in the compute type and then cast",
           .status = missing});
    s.row(&Float8::precompute_float8_dynamic_scale_for_fsdp,
          "precompute_float8_dynamic_scale_for_fsdp",
          {.help = "Compute all scales at once after the optimizer step", .status = missing});
    s.row(&Float8::force_recompute_fp8_weight_in_bwd, "force_recompute_fp8_weight_in_bwd",
          {.help = "Cast weights again in the backward pass",
           .status = no_meaning("that is always done, so that no cast weights are kept")});
    s.row(&Float8::recipe_name, "recipe_name",
          {.help = "With model.converters = \"float8\": one scale a tensor, output gradients in "
                   "e5m2, all else in e4m3 (tensorwise, also where empty), or one for each row and "
                   "column that is multiplied, all in e4m3 (rowwise). Needs a GPU of compute "
                   "capability 8.9. `sample` computes without FP8",
           .one_of = {"tensorwise", "rowwise", "rowwise_with_gw_hp"},
           .status = not_built("the gradient of weights in high precision",
                               {Value(std::string()), Value(std::string("tensorwise")),
                                Value(std::string("rowwise"))})});
    s.row(&Float8::filter_fqns, "filter_fqns",
          {.help = "Linear layers of the blocks that stay in the compute type: those whose name "
                   "holds one of these texts, such as `double_blocks.0.` or `mlp`. So do those "
                   "with a side not divisible by 16, modulations, embedders and the last layer"});
    s.row(&Float8::emulate, "emulate",
          {.help = "Multiply the 8-bit numbers in float32: on every device, slow, for tests"});
    s.append_to(table);
}

void describe_mx(std::vector<Option>& table) {
    const Status missing = not_built("training in microscaling formats");
    Section<Mx> s("mx", &JobConfig::mx);
    s.row(&Mx::use_fp8_dim1_cast_triton_kernel, "use_fp8_dim1_cast_triton_kernel",
          {.help = "Cast columns with a Triton kernel", .status = missing});
    s.row(&Mx::recipe_name, "recipe_name",
          {.help = "Format", .required = true, .one_of = {"mxfp8"}, .status = missing});
    s.row(&Mx::filter_fqns, "filter_fqns",
          {.help = "Layers left in the compute type", .status = missing});
    s.append_to(table);
}

void describe_memory_estimation(std::vector<Option>& table) {
    Section<MemoryEstimation> s("memory_estimation", &JobConfig::memory_estimation);
    s.row(&MemoryEstimation::enabled, "enabled",
          {.help = "Estimate memory instead of training",
           .status = not_built("the estimate of memory")});
    s.row(&MemoryEstimation::disable_fake_mode, "disable_fake_mode",
          {.help = "Estimate with real tensors",
           .status = no_meaning("there are no fake tensors in a native program")});
    s.append_to(table);
}

void describe_fault_tolerance(std::vector<Option>& table) {
    const Status torchft = no_meaning("it belongs to TorchFT, a Python library");
    Section<FaultTolerance> s("fault_tolerance", &JobConfig::fault_tolerance);
    s.row(&FaultTolerance::enable, "enable",
          {.help = "Train with TorchFT", .status = not_built("training with TorchFT")});
    s.row(&FaultTolerance::replica_id, "replica_id",
          {.help = "Number of this replica group", .range = at_least(0), .status = torchft});
    s.row(&FaultTolerance::group_size, "group_size",
          {.help = "Number of replica groups", .range = at_least(0), .status = torchft});
    s.row(&FaultTolerance::min_replica_size, "min_replica_size",
          {.help = "Replica groups a step needs", .range = at_least(1), .status = torchft});
    s.row(&FaultTolerance::semi_sync_method, "semi_sync_method",
          {.help = "Method with rare synchronisation", .status = torchft});
    s.row(&FaultTolerance::sync_steps, "sync_steps",
          {.help = "Steps between synchronisations",
           .unit = "steps",
           .range = at_least(1),
           .status = torchft});
    s.append_to(table);
}

void describe_experimental(std::vector<Option>& table) {
    const Status python = no_meaning("no Python module is imported");
    Section<Experimental> s("experimental", &JobConfig::experimental);
    s.row(&Experimental::custom_import, "custom_import",
          {.help = "Python module to import", .status = python});
    s.row(&Experimental::custom_args_module, "custom_args_module",
          {.help = "Python module with further options", .status = python});
    s.append_to(table);
}

}  // namespace

void describe_compatibility(std::vector<Option>& table) {
    describe_profiling(table);
    describe_float8(table);
    describe_mx(table);
    describe_memory_estimation(table);
    describe_fault_tolerance(table);
    describe_experimental(table);
}

}  // namespace flux::config
