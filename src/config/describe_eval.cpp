// Rows of [eval] (called [validation] in newer torchtitan files) and [inference].
#include "config/section.h"

namespace flux::config {
namespace {

void describe_validation(Section<Eval>& s) {
    s.row(&Eval::dataset, "dataset",
          {.help =
               "Validation set, by the names of training.dataset: shapes, coco, coco_preprocessed, "
               "webdataset; empty turns validation off, and so does validation.enable = false"});
    s.row(&Eval::dataset_path, "dataset_path",
          {.help = "Where the validation set lies; unset: the data set's own path"});
    s.row(&Eval::batch_size, "batch_size",
          {.help = "Samples validated, and pictures drawn while training, in one pass",
           .unit = "samples",
           .range = at_least(1, 1e6),
           .aliases = {"validation.local_batch_size"}});
    s.row(&Eval::at_start, "at_start", {.help = "Also validate before the first step"});
    s.row(&Eval::eval_freq, "eval_freq",
          {.help = "Training samples between validations, rounded up to whole steps (in a file "
                   "with training.local_batch_size it counts steps); freq_steps wins where it is "
                   "set",
           .unit = "samples",
           .range = at_least(1, 1e12)});
    s.row(&Eval::freq_steps, "freq_steps",
          {.help = "Steps between validations",
           .unit = "steps",
           .range = at_least(1),
           .aliases = {"validation.freq"}});
    s.row(&Eval::steps, "steps",
          {.help = "Batches of one validation, each of eval.batch_size samples for every process; "
                   "-1: the whole set",
           .unit = "batches",
           .range = at_least(-1)});
    s.row(&Eval::timestep_grid, "timestep_grid",
          {.help = "The eight timesteps of a validation, k = 0 .. 7: k/8 (MLPerf) or (k+0.5)/8 "
                   "(newer torchtitan, and the default in a file with "
                   "training.local_batch_size and [validation])"});
    s.row(&Eval::all_timesteps, "all_timesteps",
          {.help = "Validate each sample at all eight timesteps, eight passes through the model, "
                   "instead of at the one that it names"});
    s.row(&Eval::noise, "noise",
          {.help = "Noise of a validation sample: keyed is the same in every validation of the "
                   "run, per_pass is drawn anew for each; both are the same on any number of "
                   "processes"});
    s.row(&Eval::target_eval_loss, "target_eval_loss",
          {.help = "Training ends with success once the validation loss is at or below this; 0: "
                   "never",
           .range = not_negative()});
}

void describe_pictures(Section<Eval>& s) {
    s.row(&Eval::save_img_folder, "save_img_folder",
          {.help = "Folder below job.dump_folder for pictures drawn at each validation; empty: "
                   "none are drawn"});
    s.row(&Eval::save_img_count, "save_img_count",
          {.help = "Pictures drawn at each validation, from the first captions of the set",
           .unit = "pictures",
           .range = at_least(0, 1e5)});
    s.row(&Eval::enable_classifier_free_guidance, "enable_classifier_free_guidance",
          {.help = "Draw with classifier-free guidance (two passes a step)",
           .aliases = {"eval.enable_classifer_free_guidance"}});
    s.row(&Eval::classifier_free_guidance_scale, "classifier_free_guidance_scale",
          {.help = "Strength of that guidance; 1 is none",
           .range = not_negative(),
           .aliases = {"eval.classifer_free_guidance_scale"}});
    s.row(&Eval::denoising_steps, "denoising_steps",
          {.help = "Euler steps per picture", .unit = "steps", .range = at_least(1, 1e5)});
}

void describe_retired_scripts(Section<Eval>& s) {
    const Status retired = no_meaning("it belongs to a retired script for image metrics");
    s.row(&Eval::inception_ckpt, "inception_ckpt",
          {.help = "Inception weights for FID", .status = retired});
    s.row(&Eval::clip_ckpt, "clip_ckpt",
          {.help = "CLIP weights for the CLIP score", .status = retired});
    s.row(&Eval::coco_stats, "coco_stats", {.help = "COCO statistics for FID", .status = retired});
    s.row(&Eval::prompts_csv, "prompts_csv",
          {.help = "Prompts for image metrics", .status = retired});
    s.row(&Eval::num_prompts, "num_prompts",
          {.help = "Most prompts for image metrics", .range = at_least(1), .status = retired});
}

void describe_inference(std::vector<Option>& table) {
    Section<Inference> s("inference", &JobConfig::inference);
    s.row(&Inference::save_path, "save_path",
          {.help = "Folder for the pictures of `flux_train sample`", .required = true});
    s.row(&Inference::prompts_path, "prompts_path",
          {.help = "File with one prompt per line", .required = true});
    s.row(&Inference::batch_size, "batch_size",
          {.help = "Pictures drawn at a time", .unit = "pictures", .range = at_least(1, 1e6)});
    s.row(&Inference::seed, "seed",
          {.help = "Fixes the noise pictures start from; unset: the training seed",
           .unit = "below 2^63",
           .range = not_negative()});
    s.row(&Inference::img_size, "img_size",
          {.help = "Side of the pictures, a multiple of 16; unset: training.img_size",
           .unit = "pixels",
           .range = at_least(16, 16384)});
    s.row(&Inference::denoising_steps, "denoising_steps",
          {.help = "Euler steps per picture; unset: eval.denoising_steps",
           .unit = "steps",
           .range = at_least(1, 1e5)});
    s.row(&Inference::classifier_free_guidance_scale, "classifier_free_guidance_scale",
          {.help = "Strength of the guidance; unset: eval.classifier_free_guidance_scale where "
                   "eval.enable_classifier_free_guidance is on, else no guidance",
           .range = not_negative()});
    s.row(&Inference::time_shift, "time_shift",
          {.help = "Shift of the sampler's timesteps: auto as published (by picture size for dev, "
                   "none for schnell), none, or reference (constant, as torchtitan samples)"});
    s.row(&Inference::ema, "ema",
          {.help = "`flux_train sample` draws with the averaged weights, which a run with "
                   "training.ema_decay saves"});
    s.append_to(table);
}

}  // namespace

void describe_eval(std::vector<Option>& table) {
    Section<Eval> s("eval", &JobConfig::eval);
    describe_validation(s);
    describe_pictures(s);
    describe_retired_scripts(s);
    for (Option& option : s.rows()) {
        option.aliases.push_back(validation_switch().section + "." + option.key);
    }
    s.append_to(table);
    describe_inference(table);
}

}  // namespace flux::config
