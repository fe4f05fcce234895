"""Prints what TensorBoard reads from a folder of event files: the oracle of event_file_test.cc."""
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
losses = events.Scalars("train/loss")
print("steps", len(losses), "wire", len(events.Scalars("wire")))
for e in losses:
    print(e.step, f"{e.value:.9g}", int(e.wall_time))
