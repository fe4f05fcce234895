// Gradient flow: which gradient reaches a weight behind a mask. With g the gradient of the masked
// weight, m the mask and w the weight:
//
//   straight_through   g                      to all weights (progressive gradient flow,
//                                             arXiv 2402.04744)
//   hard               m g                    pruned weights stand still
//   srste              g + lambda (1 - m) w   SR-STE, Zhou et al., arXiv 2102.04010; their lambda
//                                             is 2e-4. Added once a step, whatever the number of
//                                             micro-batches and ranks
//   srste_decoupled    g, and after the step w <- w - lr lambda (1 - m) w: Adam, which rescales
//                      gradients, leaves this pull as it is, as AdamW does with weight decay
//
// straight_through is not the derivative of w (m + (1 - m) beta): that would scale the gradient of
// pruned weights by beta. Free of torch.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace terse {

enum class GradientFlow : uint8_t { straight_through, hard, srste, srste_decoupled };

std::vector<std::string> flow_names();
GradientFlow parse_flow(const std::string& name);  // Error(usage) with the names
const char* flow_name(GradientFlow flow);

}  // namespace terse
