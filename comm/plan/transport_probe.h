// What TCP takes of a core, where there is no link to measure yet.
#pragma once

namespace terse {

// Seconds of one core to send a byte and receive another, from 64 MB through a TCP connection of
// this process with itself: the kernel's copies and protocol, as Link::core_seconds_per_byte counts
// them; a network card's interrupts come on top, its own segmentation takes some away. About 50 ms.
// 0 if no connection can be made.
double measure_transport();

}  // namespace terse
