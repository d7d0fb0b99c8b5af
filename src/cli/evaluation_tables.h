/* Results of `slotpress evaluate` as tables for people, on standard output: of the objects that each task
   makes (run/evaluate*.h). */
#pragma once

#include "base/json.h"

void sp_print_reconstruction(const json_t *result);
void sp_print_qa(const json_t *result);
void sp_print_icl(const json_t *result);
void sp_print_roleplay(const json_t *result);
void sp_print_efficiency(const json_t *result);
void sp_print_ablation(const json_t *result);
void sp_print_predictions(const json_t *result); /* of predictions made elsewhere */
