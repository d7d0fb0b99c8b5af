#include "run/trained.h"

#include "run/train_state.h"

static sp_status open_trained(sp_trained *trained, const char *dir, const char *const *assignments,
                              size_t n_assignments, sp_sides sides) {
    SP_TRY(sp_checkpoint_open(&trained->checkpoint, dir));
    SP_TRY(sp_models_read_config(&trained->config, trained->checkpoint));
    for (size_t i = 0; i < n_assignments; i++)
        SP_TRY(sp_config_assign(&trained->config, &sp_run_config_table, assignments[i]));
    SP_TRY(sp_run_config_check(&trained->config));
    trained->ratio = sp_run_config_least_ratio(&trained->config);
    SP_TRY(sp_train_state_check_shapes(&trained->config, trained->checkpoint));
    const char *where = sp_checkpoint_path(trained->checkpoint);
    SP_TRY(sp_json_get_string(&trained->digest, sp_checkpoint_manifest(trained->checkpoint),
                              "digest", where));
    if (trained->digest == NULL)
        return sp_fail(SP_BAD_DATA, "'%s': its manifest has no digest", where);
    return sp_models_open(&trained->models, &trained->config, sides, trained->checkpoint);
}

sp_status sp_trained_open(sp_trained *trained, const char *dir, const char *const *assignments,
                          size_t n_assignments, sp_sides sides) {
    *trained = (sp_trained){0}; /* filled in place: models point at their own weights */
    const sp_status status = open_trained(trained, dir, assignments, n_assignments, sides);
    if (status != SP_OK) sp_trained_close(trained);
    return status;
}

void sp_trained_close(sp_trained *trained) {
    sp_models_close(&trained->models);
    sp_run_config_free(&trained->config);
    sp_checkpoint_close(trained->checkpoint);
    *trained = (sp_trained){0};
}

sp_status sp_trained_use_ratio(sp_trained *trained, size_t ratio) {
    const sp_count_list *ratios = &trained->config.segment.ratios;
    char text[128];
    for (size_t i = 0; i < ratios->n_items; i++) {
        if (ratio != 0 && ratio != ratios->items[i]) continue;
        trained->ratio = ratios->items[i];
        return SP_OK;
    }
    sp_config_counts_text(text, sizeof text, ratios);
    return sp_fail(SP_USAGE, "--ratio %zu: '%s' was trained for ratio%s %s", ratio,
                   sp_checkpoint_path(trained->checkpoint), ratios->n_items > 1 ? "s" : "", text);
}

sp_layout sp_trained_layout(const sp_trained *trained) {
    const sp_weights *decoder = trained->models.decoder_weights;
    sp_layout layout =
        sp_run_config_layout(&trained->config, decoder != NULL ? &decoder->config : NULL);
    layout.ratio = trained->ratio;
    return layout;
}
