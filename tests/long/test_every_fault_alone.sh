#!/bin/sh
# A kill and a full disk at calls by which a training changes its run's folder: one rank, at every other
# call; EVERY_NTH=1 takes them all.
# cores: 1
EVERY_CALL="1:0" EVERY_NTH=${EVERY_NTH:-2} exec sh tests/faults/test_checkpoint_faults.sh
