// Rows of [job], [metrics] and [mlperf]: the run as a whole and what it reports.
#include "config/section.h"

namespace flux::config {
namespace {

void describe_job(std::vector<Option>& table) {
    Section<Job> s("job", &JobConfig::job);
    s.row(&Job::config_file, "config_file",
          {.help = "TOML file to read; only on the command line, which wins over the file"});
    s.row(&Job::dump_folder, "dump_folder",
          {.help = "Folder for everything the run writes: config.toml, train.log, metrics.jsonl, "
                   "report.html, pictures, checkpoints",
           .required = true});
    s.row(&Job::description, "description", {.help = "A line that names the run in its report"});
    s.row(
        &Job::print_args, "print_args",
        {.help = "Log the effective configuration at the start", .aliases = {"job.print_config"}});
    s.row(&Job::restart, "restart",
          {.help = "Begin anew although the folder holds checkpoints of an earlier run"});
    s.row(&Job::use_for_integration_test, "use_for_integration_test",
          {.help = "Marks a file as one of torchtitan's integration tests",
           .status = no_meaning("it only marks a file for another project's test runner")});
    s.row(&Job::custom_config_module, "custom_config_module",
          {.help = "Python module with further options",
           .status = no_meaning("all options are built in; no Python module is imported")});
    s.append_to(table);
}

void describe_metrics(std::vector<Option>& table) {
    Section<Metrics> s("metrics", &JobConfig::metrics);
    s.row(&Metrics::log_freq, "log_freq",
          {.help = "How often a line with loss and speed is logged",
           .unit = "steps",
           .range = at_least(1)});
    s.row(&Metrics::progress_bar, "progress_bar",
          {.help = "Progress bar; auto draws it only on a terminal"});
    s.row(&Metrics::peak_tflops, "peak_tflops",
          {.help = "Peak of one device, for the utilisation (MFU); unset: looked up by the GPU's "
                   "name",
           .unit = "TFLOP/s",
           .range = above(0)});
    s.row(&Metrics::disable_color_printing, "disable_color_printing",
          {.help = "Log without colours on a terminal too"});
    s.row(&Metrics::log_to_console, "log_to_console",
          {.help = "Also print metrics to the console",
           .status = no_meaning("metrics are always printed")});
    s.row(&Metrics::save_for_all_ranks, "save_for_all_ranks",
          {.help = "Record metrics of every process, not of the first alone",
           .status = no_meaning("the first process records, for the whole run")});
    s.row(&Metrics::enable_tensorboard, "enable_tensorboard",
          {.help = "Also write TensorBoard event files: figures, pictures, the configuration"});
    s.row(&Metrics::save_tb_folder, "save_tb_folder",
          {.help = "Folder below job.dump_folder for TensorBoard", .required = true});
    s.row(
        &Metrics::enable_wandb, "enable_wandb",
        {.help = "Send figures and the configuration to Weights & Biases while the run goes on "
                 "(needs python3 with the package wandb; WANDB_PROJECT names the project). Users, "
                 "passwords and queries of addresses are masked"});
    s.row(&Metrics::mlperf_logging, "mlperf_logging",
          {.help = "Write mlperf_compliance.log into job.dump_folder"});
    s.row(
        &Metrics::http_port, "http_port",
        {.help = "Serve the report at / and figures for Prometheus at /metrics while the run goes "
                 "on; 0: do not",
         .range = between(0, 65535)});
    s.row(
        &Metrics::http_host, "http_host",
        {.help = "Address to serve them at; everybody who reaches it may read them (0.0.0.0: from "
                 "everywhere)",
         .required = true});
    s.append_to(table);
}

void describe_mlperf(std::vector<Option>& table) {
    Section<Mlperf> s("mlperf", &JobConfig::mlperf);
    s.row(&Mlperf::submission_org, "submission_org",
          {.help = "Who submits the result", .required = true});
    s.row(&Mlperf::submission_platform, "submission_platform",
          {.help = "What it ran on; unset: the name of the GPU or CPU", .required = true});
    s.row(&Mlperf::submission_division, "submission_division",
          {.help = "Division of the benchmark; its rules are checked at the start"});
    s.row(&Mlperf::clear_caches, "clear_caches",
          {.help = "Have each machine drop its file caches at the start, as the rules ask; needs "
                   "root"});
    s.row(&Mlperf::synthetic_warmup_steps, "synthetic_warmup_steps",
          {.help = "Steps on synthetic data before the clock starts; they change no weight",
           .unit = "steps",
           .range = at_least(0)});
    s.append_to(table);
}

}  // namespace

void describe_run(std::vector<Option>& table) {
    describe_job(table);
    describe_metrics(table);
    describe_mlperf(table);
}

}  // namespace flux::config
