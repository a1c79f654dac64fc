#include "trainer/report_json.h"

#include "trainer/words.h"

namespace stagecoach {
namespace {

nlohmann::json json_of(const StageReport& stage) {
  return {{"rank", stage.rank},
          {"first_layer", stage.first_layer},
          {"last_layer", stage.last_layer},
          {"first_name", stage.first_name},
          {"last_name", stage.last_name},
          {"parameters", stage.parameters},
          {"forward_seconds", stage.forward_seconds},
          {"backward_input_seconds", stage.backward_input_seconds},
          {"backward_weight_seconds", stage.backward_weight_seconds},
          {"last_weight_seconds", stage.last_weight_seconds},
          {"multiply_adds", stage.multiply_adds},
          {"recompute_seconds", stage.recompute_seconds},
          {"recompute_in_backward_seconds", stage.recompute_in_backward_seconds},
          {"busy_seconds", stage.busy_seconds()},
          {"wait_seconds", stage.wait_seconds},
          {"communication_seconds", stage.communication_seconds},
          {"message_bytes", stage.message_bytes},
          {"optimizer_seconds", stage.optimizer_seconds},
          {"hidden_optimizer_seconds", stage.hidden_optimizer_seconds},
          {"reduce_seconds", stage.reduce_seconds},
          {"hidden_reduce_seconds", stage.hidden_reduce_seconds},
          {"reduce_beside_weight_seconds", stage.reduce_beside_weight_seconds}};
}

nlohmann::json json_of(const BubbleReport& bubble) {
  nlohmann::json json = {{"measured", bubble.measured},
                         {"predicted", bubble.predicted},
                         {"formula", nullptr},
                         {"imbalance", bubble.imbalance},
                         {"measured_makespan_seconds", bubble.measured_makespan_seconds},
                         {"predicted_makespan_seconds", bubble.predicted_makespan_seconds},
                         {"joint_makespan_seconds", nullptr},
                         {"zb_h1_makespan_seconds", nullptr}};
  if (bubble.formula) json["formula"] = *bubble.formula;
  if (bubble.joint_makespan_seconds) {
    json["joint_makespan_seconds"] = *bubble.joint_makespan_seconds;
  }
  if (bubble.zb_h1_makespan_seconds) {
    json["zb_h1_makespan_seconds"] = *bubble.zb_h1_makespan_seconds;
  }
  return json;
}

nlohmann::json json_of(const TransportReport& transport) {
  return {{"latency_seconds", transport.messages.latency},
          {"bytes_per_second", transport.messages.bandwidth},
          {"machines", transport.machines},
          {"clocks_within_seconds", transport.clocks_within_seconds}};
}

}  // namespace

nlohmann::json to_json(const RunReport& report) {
  nlohmann::json json = {{"model", report.model},
                         {"data", report.data},
                         {"device", report.device},
                         {"precision", name_of(report.precision)},
                         {"launch", name_of(report.launch)},
                         {"schedule", report.schedule},
                         {"partition", report.partition},
                         {"pipeline_stages", report.stages},
                         {"chunks", report.chunks},
                         {"recompute", name_of(report.recompute)},
                         {"recompute_interval", report.recompute_interval},
                         {"planned_bytes_without_recompute", report.planned_without_recompute},
                         {"micro_batches", report.micro_batches},
                         {"micro_batch_size", report.micro_batch_size},
                         {"replicas", report.replicas},
                         {"gradient_groups", report.gradient_groups},
                         {"fast_nondeterministic", report.fast_nondeterministic},
                         {"processes", report.processes},
                         {"transport", nullptr},
                         {"image_size", report.image_size},
                         {"threads", report.threads},
                         {"instruction_set", nullptr},
                         {"core_multiply_adds_per_second", nullptr},
                         {"steps", report.steps},
                         {"first_step", report.first_step},
                         {"planned_steps", report.planned_steps},
                         {"ended_by", nullptr},
                         {"seed", report.seed},
                         {"images_per_second", report.images_per_second},
                         {"step_seconds_median", report.step_seconds_median},
                         {"total_seconds", report.total_seconds},
                         {"loss_first", report.loss_first},
                         {"loss_last", report.loss_last},
                         {"training_accuracy_first", report.training_accuracy_first},
                         {"training_accuracy_last", report.training_accuracy_last},
                         {"accuracy", nullptr},
                         {"test_samples", report.test_samples},
                         {"data_wait_seconds", report.data_wait_seconds},
                         {"data_waits", report.data_waits},
                         {"images_left_out", report.images_left_out},
                         {"loader_bytes", report.loader_bytes},
                         {"snapshot_bytes", report.snapshot_bytes},
                         {"snapshots", report.snapshots},
                         {"snapshot_seconds", report.snapshot_seconds},
                         {"process_peak_bytes", report.process_peak_bytes},
                         {"bubble", nullptr},
                         {"stages", nlohmann::json::array()},
                         {"memory", nlohmann::json::array()}};
  if (!report.ended_by.empty()) json["ended_by"] = report.ended_by;
  if (report.transport) json["transport"] = json_of(*report.transport);
  if (report.accuracy) json["accuracy"] = *report.accuracy;
  if (report.bubble) json["bubble"] = json_of(*report.bubble);
  if (report.core_peak) {
    json["instruction_set"] = report.instruction_set;
    json["core_multiply_adds_per_second"] = *report.core_peak;
  }
  for (const StageReport& stage : report.stage) {
    json["stages"].push_back(json_of(stage));
    if (report.core_peak) json["stages"].back()["peak_share"] = report.peak_share(stage);
  }
  for (const MemoryReport& memory : report.memory) {
    json["memory"].push_back(
        {{"planned_bytes", memory.planned_bytes}, {"peak_bytes", memory.peak_bytes}});
  }
  return json;
}

}  // namespace stagecoach
