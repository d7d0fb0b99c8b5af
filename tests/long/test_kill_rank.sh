#!/bin/sh
# tests/faults/test_kill_rank.sh, with more kills.
KILLS=${KILLS:-30} exec sh tests/faults/test_kill_rank.sh
