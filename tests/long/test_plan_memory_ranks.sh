#!/bin/sh
# What `plan` says of memory against what runs on two ranks take: data parallel, a pipeline, fine-tuning.
RANKS=2 exec sh tests/long/test_plan_memory.sh
