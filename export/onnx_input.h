// What a layer does to its input (qat/input_format.h) as nodes of an ONNX graph, in fp32 and in the
// order of training's arithmetic (qat/grid.h):
//
//   pair            QuantizeLinear, DequantizeLinear; for one scale at 8 bits. uint8 with the zero
//                   point 128: int8's values, of which ONNX Runtime (1.31, x64) makes integer
//                   products where several layers share the pair, as it does not of int8
//   steps           Clip(x / scale), Round or Floor, Add the offset, Mul the scale
//   a token's scale ReduceMax or ReduceMean of |x| or x x over the last axis
//
// Steps multiply with the inverse of the scale or divide, as training does, and give its codes bit
// for bit, but for ReduceMean, which adds in its own order. QuantizeLinear always divides: another
// code for values within 1e-7 of a tie.
#pragma once
#include <string>

#include "export/artifact.h"
#include "export/onnx.h"
#include "qat/input_format.h"

namespace terse {

// Whether these operators compute it: not fp4, in blocks or not, nor signed_max.
bool onnx_rounds(const InputFormat& input);
// Whether a pair computes it.
bool onnx_int8_pair(const InputFormat& input);

// Whether ONNX Runtime multiplies codes of inputs and weights in the file of this type: all
// compressed weights of onnx:int8 have a scale a row or one, and inputs of pairs. It (1.31) tries
// so with scales of groups, too, which it then applies wrongly; and where some products are left in
// fp32, it fails with session.x64quantprecision, which the others need.
bool onnx_multiplies_codes(const Artifact& artifact, const std::string& type);

// The nodes that round `x` [.., columns]; the last one, and its output, is called `name`, the
// others `name`.PART. Their constants, inputs.FORMAT.PART, are shared by all layers of one format.
// For an input that onnx_rounds().
void add_rounded_input(OnnxModel& model, const std::string& name, const std::string& x,
                       const InputFormat& input, bool pair);

}  // namespace terse
