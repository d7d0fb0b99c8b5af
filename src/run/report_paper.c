#include "run/report_paper.h"

/* clang-format off */
const sp_paper_figure sp_paper_figures[] = {
    {SP_RESULT_RECONSTRUCTION, "held-out text",     "PCC",             "bleu_sentence", 4,  100,   100,   true},
    {SP_RESULT_RECONSTRUCTION, "held-out text",     "PCC",             "bleu_sentence", 16, 98,    98.8,  false},
    {SP_RESULT_QA,             "mean of four sets", "full context",    "f1",       0,  66.29, 66.29, false},
    {SP_RESULT_QA,             "mean of four sets", "PCC Large",       "f1",       4,  63.62, 63.62, false},
    {SP_RESULT_QA,             "mean of four sets", "PCC Lite",        "f1",       4,  61.77, 61.77, false},
    {SP_RESULT_QA,             "mean of four sets", "LLMLingua-2",     "f1",       0,  52.69, 52.69, false},
    {SP_RESULT_QA,             "mean of four sets", "ICAE",            "f1",       0,  42.00, 42.00, false},
    {SP_RESULT_QA,             "mean of four sets", "COCOM",           "f1",       4,  32.92, 32.92, false},
    {SP_RESULT_QA,             "mean of four sets", "AutoCompressor",  "f1",       0,  19.35, 19.35, false},
    {SP_RESULT_ICL,            "GSM8K",             "full context",    "accuracy", 0,  78.92, 78.92, false},
    {SP_RESULT_ICL,            "GSM8K",             "PCC",             "accuracy", 0,  74.91, 74.91, false},
    {SP_RESULT_ICL,            "WSC",               "PCC",             "accuracy", 4,  69.55, 69.55, false},
};
/* clang-format on */
const size_t sp_n_paper_figures = sizeof sp_paper_figures / sizeof sp_paper_figures[0];

const char *sp_paper_remark(sp_result_task task) {
    static const char *const remarks[SP_N_RESULT_TASKS] = {
        [SP_RESULT_RECONSTRUCTION] =
            "The paper's decoder is Llama-3-8B-Instruct, its BLEU the mean over segments, as "
            "bleu_sentence; its figures at 16× are those of BLEU and ROUGE-L together; at 64× and "
            "above reconstruction collapses.",
        [SP_RESULT_QA] =
            "The paper's decoder is Llama-3-8B-Instruct, and its figure the mean over "
            "SQuAD, HotpotQA, AdversarialQA and NQ: compare it with a mean over these.",
        [SP_RESULT_ICL] = "The paper's decoder is Llama-3-8B-Instruct.",
        [SP_RESULT_ROLEPLAY] = "In the paper the perplexity at 4× is below that of the explicit "
                               "750-token prompt; this report knows no number of it.",
        [SP_RESULT_EFFICIENCY] = "This report knows no figures of the paper's for these.",
    };
    return remarks[task];
}
