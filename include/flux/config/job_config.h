// Every option of a job as plain structs, one per TOML section. Members carry the names of the TOML
// keys; their initialisers are the defaults. src/config/describe_*.cpp has one row per member
// (type, unit, help, allowed values, aliases); load_config.h fills the structs from a file and the
// command line. Other parts take their own section, never the whole JobConfig.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace flux::config {

enum class Device { kAuto, kCpu, kCuda };
enum class Precision { kAuto, kBfloat16, kFloat32 };       // compute dtype of the model
enum class ReducePrecision { kFloat32, kBfloat16 };        // dtype of gradient reductions
enum class ExportDtype { kFloat16, kBfloat16, kFloat32 };  // dtype of exported weights
enum class DropoutMode { kJoint, kIndependent };           // of the captions: T5 and CLIP
enum class Shuffle { kGlobal, kNone, kShards };            // order of an epoch's samples
enum class TimestepSampling { kUniform, kLogitNormal };    // distribution of training timesteps
enum class TimestepGrid { kEighths, kMidpoints };          // validation: k/8 or (k+0.5)/8
enum class EvalNoise { kKeyed, kPerPass };                 // validation: one draw, or one a pass
enum class TimeShift { kAuto, kNone, kReference };         // of the sampler's schedule
enum class DecayType { kLinear, kSqrt, kCosine };          // shape of the learning rate's decay
enum class OptimizerName { kAdamW, kAdam };
enum class OptimizerImplementation { kForLoop, kForeach, kFused };
enum class RecomputeMode { kNone, kFull, kSelective };     // activation checkpointing
enum class ReshardMode { kDefault, kAlways, kNever };      // free gathered weights after forward
enum class AsyncMode { kDisabled, kAsync, kAsyncPinned };  // checkpoint saving
enum class MlperfDivision { kClosed, kOpen };              // of a submission
enum class ProgressBar { kAuto, kOn, kOff };

struct Job {
    std::string config_file;
    std::string dump_folder = "./outputs";
    std::string description = "default job";
    bool print_args = false;
    bool restart = false;
    bool use_for_integration_test = false;
    std::string custom_config_module;
    bool operator==(const Job&) const = default;
};

struct Profiling {
    bool enable_profiling = false;
    std::string save_traces_folder = "profile_traces";
    int64_t profile_freq = 10;
    bool enable_memory_snapshot = false;
    std::string save_memory_snapshot_folder = "memory_snapshot";
    bool operator==(const Profiling&) const = default;
};

struct Metrics {
    int64_t log_freq = 10;
    ProgressBar progress_bar = ProgressBar::kAuto;
    std::optional<double> peak_tflops;
    bool disable_color_printing = false;
    bool log_to_console = false;
    bool save_for_all_ranks = false;
    bool enable_tensorboard = false;
    std::string save_tb_folder = "tb";
    bool enable_wandb = false;
    bool mlperf_logging = true;
    int64_t http_port = 0;
    std::string http_host = "127.0.0.1";
    bool operator==(const Metrics&) const = default;
};

/// What an MLPerf result says of its run beyond what the run itself shows.
struct Mlperf {
    std::string submission_org = "unspecified";
    std::optional<std::string> submission_platform;  // unset: the name of the GPU or CPU
    MlperfDivision submission_division = MlperfDivision::kClosed;
    bool clear_caches = false;
    int64_t synthetic_warmup_steps = 0;
    bool operator==(const Mlperf&) const = default;
};

/// Unset dimensions are those of the flavor.
struct Model {
    std::string name = "flux";
    std::string flavor = "flux-schnell";
    std::optional<int64_t> hidden_size;
    std::optional<int64_t> num_heads;
    std::optional<int64_t> depth;
    std::optional<int64_t> depth_single_blocks;
    std::optional<std::vector<int64_t>> axes_dim;
    std::optional<double> mlp_ratio;
    std::optional<int64_t> vec_in_dim;
    std::optional<int64_t> theta;
    std::optional<bool> qkv_bias;
    std::optional<bool> guidance_embed;
    double qk_norm_eps = 1.1920928955078125e-07;
    std::vector<std::string> converters;
    bool print_after_conversion = false;
    std::string tokenizer_path;
    bool operator==(const Model&) const = default;
};

struct Optimizer {
    OptimizerName name = OptimizerName::kAdamW;
    double lr = 8e-4;
    double beta1 = 0.9;
    double beta2 = 0.95;
    double eps = 1e-8;
    double weight_decay = 0.1;
    std::vector<std::string> no_weight_decay;
    OptimizerImplementation implementation = OptimizerImplementation::kFused;
    bool early_step_in_backward = false;
    bool operator==(const Optimizer&) const = default;
};

struct LrScheduler {
    int64_t warmup_steps = 200;
    std::optional<double> decay_ratio;
    DecayType decay_type = DecayType::kLinear;
    double lr_min = 0.0;
    bool operator==(const LrScheduler&) const = default;
};

struct Training {
    std::string dataset = "cc12m_disk";
    std::string dataset_path;
    std::optional<int64_t> subset_size;
    Shuffle shuffle = Shuffle::kGlobal;
    int64_t img_size = 256;
    int64_t buckets = 0;
    int64_t max_image_pixels = 933120000;
    double max_bad_fraction = 0.01;
    int64_t steps = 0;
    int64_t batch_size = 8;
    std::optional<int64_t> global_batch_size;
    int64_t gradient_accumulation_steps = 1;
    double max_norm = 1.0;
    int64_t max_skipped_steps = 10;
    double classifier_free_guidance_prob = 0.0;
    DropoutMode dropout_mode = DropoutMode::kJoint;
    TimestepSampling timestep_sampling = TimestepSampling::kUniform;
    double timestep_logit_mean = 0.0;
    double timestep_logit_std = 1.0;
    double timestep_shift = 1.0;
    double guidance = 1.0;
    double ema_decay = 0.0;  // 0: no average
    std::string init_from;
    std::optional<uint64_t> seed;
    Device device = Device::kAuto;
    Precision mixed_precision_param = Precision::kAuto;
    ReducePrecision mixed_precision_reduce = ReducePrecision::kFloat32;
    bool deterministic = false;
    bool compile = false;
    bool enable_cpu_offload = false;
    bool test_mode = false;
    int64_t seq_len = 2048;
    int64_t gc_freq = 50;
    bool gc_debug = false;
    bool operator==(const Training&) const = default;
};

struct Dataloader {
    int64_t num_workers = 2;
    int64_t prefetch_factor = 2;
    bool persistent_workers = false;
    std::string cache_dir;
    int64_t cache_size_gb = 2000;
    bool operator==(const Dataloader&) const = default;
};

struct Parallelism {
    int64_t data_parallel_replicate_degree = 1;
    int64_t data_parallel_shard_degree = -1;
    ReshardMode fsdp_reshard_after_forward = ReshardMode::kDefault;
    int64_t fsdp_prefetch_params = 2;
    bool fsdp_overlap_comm = true;
    int64_t tensor_parallel_degree = 1;
    bool disable_loss_parallel = false;
    bool enable_async_tensor_parallel = false;
    int64_t pipeline_parallel_degree = 1;
    std::vector<std::string> pipeline_parallel_split_points;
    std::optional<int64_t> pipeline_parallel_layers_per_stage;
    std::string pipeline_parallel_schedule = "1F1B";
    std::string pipeline_parallel_schedule_csv;
    int64_t pipeline_parallel_microbatch_size = 1;
    int64_t context_parallel_degree = 1;
    std::string context_parallel_rotate_method = "allgather";
    bool enable_compiled_autograd = false;
    bool operator==(const Parallelism&) const = default;
};

struct Checkpoint {
    bool enable_checkpoint = false;
    std::string folder = "checkpoint";
    int64_t interval = 500;
    int64_t keep_latest_k = 10;
    int64_t load_step = -1;
    std::vector<std::string> exclude_from_loading;
    bool model_weights_only = false;
    ExportDtype export_dtype = ExportDtype::kFloat32;
    AsyncMode async_mode = AsyncMode::kDisabled;
    bool create_seed_checkpoint = false;
    bool operator==(const Checkpoint&) const = default;
};

struct ActivationCheckpoint {
    RecomputeMode mode = RecomputeMode::kFull;
    std::string selective_ac_option = "2";
    bool keep_results = true;
    bool operator==(const ActivationCheckpoint&) const = default;
};

struct Float8 {
    bool enable_fsdp_float8_all_gather = false;
    bool precompute_float8_dynamic_scale_for_fsdp = false;
    bool force_recompute_fp8_weight_in_bwd = false;
    std::string recipe_name;
    std::vector<std::string> filter_fqns;
    bool emulate = false;
    bool operator==(const Float8&) const = default;
};

struct Mx {
    bool use_fp8_dim1_cast_triton_kernel = true;
    std::string recipe_name = "mxfp8";
    std::vector<std::string> filter_fqns = {"output"};
    bool operator==(const Mx&) const = default;
};

struct Comm {
    int64_t init_timeout_seconds = 300;
    int64_t train_timeout_seconds = 100;
    int64_t trace_buf_size = 20000;
    bool operator==(const Comm&) const = default;
};

struct MemoryEstimation {
    bool enabled = false;
    bool disable_fake_mode = false;
    bool operator==(const MemoryEstimation&) const = default;
};

struct FaultTolerance {
    bool enable = false;
    int64_t replica_id = 0;
    int64_t group_size = 0;
    int64_t min_replica_size = 1;
    std::string semi_sync_method;
    int64_t sync_steps = 5;
    bool operator==(const FaultTolerance&) const = default;
};

struct Experimental {
    std::string custom_import;
    std::string custom_args_module;
    bool operator==(const Experimental&) const = default;
};

struct Encoder {
    std::string t5_encoder = "google/t5-v1_1-small";
    std::string clip_encoder = "openai/clip-vit-large-patch14";
    std::string autoencoder_path = "/models/autoencoder/ae.safetensors";
    std::string t5_tokenizer;
    std::string clip_tokenizer;
    Precision dtype = Precision::kAuto;
    bool offload = false;
    std::optional<double> autoencoder_shift;
    std::optional<double> autoencoder_scale;
    int64_t max_t5_encoding_len = 256;
    std::optional<int64_t> context_in_dim;
    std::string empty_encodings_path;
    bool operator==(const Encoder&) const = default;
};

/// An empty `dataset` turns validation off; an empty `save_img_folder` the sample pictures.
struct Eval {
    std::string dataset;
    std::string dataset_path;
    int64_t batch_size = 16;
    bool at_start = false;
    int64_t eval_freq = 614400;         // samples
    std::optional<int64_t> freq_steps;  // steps; when set, eval_freq is not used
    int64_t steps = -1;                 // batches; -1: the whole set
    TimestepGrid timestep_grid = TimestepGrid::kEighths;
    bool all_timesteps = false;
    EvalNoise noise = EvalNoise::kKeyed;
    double target_eval_loss = 0.586;
    std::string save_img_folder = "eval_images";
    int64_t save_img_count = 1;
    bool enable_classifier_free_guidance = false;
    double classifier_free_guidance_scale = 5.0;
    int64_t denoising_steps = 50;
    std::string inception_ckpt = "/checkpoint/inception_ckpt/pt_inception-2015-12-05-6726825d.pth";
    std::string clip_ckpt = "/checkpoint/clip_ckpt";
    std::string coco_stats = "/checkpoint/coco_stats/val2014_512x512_30k_stats.npz";
    std::string prompts_csv = "prompts.tsv";
    std::optional<int64_t> num_prompts;
    bool operator==(const Eval&) const = default;
};

/// Unset values are those of training and of the pictures drawn while training.
struct Inference {
    std::string save_path = "inference_results";
    std::string prompts_path = "prompts.txt";
    int64_t batch_size = 16;
    std::optional<uint64_t> seed;
    std::optional<int64_t> img_size;
    std::optional<int64_t> denoising_steps;
    std::optional<double> classifier_free_guidance_scale;
    TimeShift time_shift = TimeShift::kAuto;
    bool ema = false;
    bool operator==(const Inference&) const = default;
};

struct Preprocessing {
    std::string output_dataset_path = "/datasets/preprocessed";
    int64_t file_size_mb = 500;
    std::string compression = "none";
    bool operator==(const Preprocessing&) const = default;
};

struct Kernels {
    bool fused = true;
    bool tf32 = false;
    bool operator==(const Kernels&) const = default;
};

struct JobConfig {
    Job job;
    Metrics metrics;
    Mlperf mlperf;
    Model model;
    Encoder encoder;
    Training training;
    Dataloader dataloader;
    Optimizer optimizer;
    LrScheduler lr_scheduler;
    ActivationCheckpoint activation_checkpoint;
    Kernels kernels;
    Eval eval;
    Inference inference;
    Checkpoint checkpoint;
    Parallelism parallelism;
    Comm comm;
    Preprocessing preprocessing;
    Profiling profiling;
    Float8 float8;
    Mx mx;
    MemoryEstimation memory_estimation;
    FaultTolerance fault_tolerance;
    Experimental experimental;
    bool operator==(const JobConfig&) const = default;
};

}  // namespace flux::config
