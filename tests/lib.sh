# Shared by the scripts that train (`. tests/lib.sh`): a folder of their own, a small corpus, tiny
# models, one configuration, and comparisons of what runs leave behind. SLOTPRESS is the binary.
set -u
slotpress=${SLOTPRESS:-build/slotpress}
encoder=tests/fixtures/models/llama-tiny
decoder=tests/fixtures/models/llama-tied-bf16
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
n_failed=0

# Threads of several ranks on one machine would wait for each other's core.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none

fail() {
    echo "FAILED: $*"
    [ ! -f "$folder/err" ] || tail -n 15 "$folder/err" | sed 's/^/    | /'
    n_failed=$((n_failed + 1))
}

# finish: the script's last line.
finish() { [ $n_failed = 0 ]; }

# expect CODE COMMAND...: runs a command for at most $limit_s seconds; its output goes to $folder/out
# and $folder/err. CODE `any`: the caller looks at $code, 124 being that of one that took too long, and
# at $is_deaf: it did not end when asked to, either. mpirun ends its ranks when asked; one that has
# locked up does not (test_kill_rank.sh).
limit_s=100
expect() {
    wanted=$1 && shift
    begun_s=$(date +%s) is_deaf=no
    timeout -k 10 "$limit_s" "$@" >"$folder/out" 2>"$folder/err" </dev/null
    code=$?
    # A command that was killed ends with 137, too, but before its time.
    [ $code != 137 ] || [ $(($(date +%s) - begun_s)) -lt $((limit_s + 10)) ] || code=124 is_deaf=yes
    [ "$wanted" = any ] || [ $code = "$wanted" ] || fail "$*: exit code $code, not $wanted"
}

# The last command wrote TEXT to standard error.
says() { grep -qF -- "$1" "$folder/err" || fail "no '$1'"; }

# corpus N: N documents of one to some six segments, as JSON lines.
corpus() {
    awk -v n="$1" 'BEGIN {
        split("the river ran down to a stone bridge where old boats lay and men sold bread", word, " ")
        for (d = 0; d < n; d++) {
            text = ""
            for (i = 0; i < 6 + (d * 7) % 23; i++) {
                state = (state * 75 + 74 + d) % 65537
                text = text (i ? " " : "") word[1 + state % 15]
            }
            printf "{\"id\": \"d%d\", \"text\": \"%s.\"}\n", d, text
        }
    }'
}

# make_tokens [N]: writes $folder/tokens.h5 of N documents, in segments of 16.
make_tokens() {
    corpus "${1:-30}" >"$folder/corpus.jsonl"
    expect 0 "$slotpress" tokenize --quiet --tokenizer e="$encoder" --tokenizer d="$decoder" \
        --segment-tokens 16 --output "$folder/tokens.h5" "$folder/corpus.jsonl"
    cat >"$folder/run.yaml" <<END
run:        {seed: 7}
encoder:
  model: $encoder
  train: lora
  memory_tokens: 4
  lora: {rank: 4, alpha: 8, dropout: 0.1, targets: [q, k, v, o, gate, up, down]}
decoder:    {model: $decoder, precision: f32}
data:       {tokens: $folder/tokens.h5, encoder_stream: e, decoder_stream: d, validation: 0.1}
segment:    {tokens: 16, ratio: 4}
train:      {steps: 20, global_batch: 7, micro_batch: 3, lr: 3e-3, warmup_steps: 5, precision: f32,
             validate_every: 10}
checkpoint: {every_steps: 0}
END
}

# pretrain CODE RANKS RUN [OPTION...]: trains in $folder/RUN, KEY=VALUE being a --set, and expects
# the exit code; CODE `later`: in the background, as process $trained. With verbosity= it says what it does.
pretrain() {
    wanted=$1 n_ranks=$2 run=$3 && shift 3
    n_left=$#
    while [ $n_left -gt 0 ]; do
        case $1 in
        *=*) set -- "$@" --set "$1" ;;
        *) set -- "$@" "$1" ;;
        esac
        shift
        n_left=$((n_left - 1))
    done
    set -- "$slotpress" pretrain ${verbosity---quiet} --config "$folder/run.yaml" --set "run.dir=$folder/$run" "$@"
    [ "$n_ranks" = 1 ] || set -- mpirun --oversubscribe -n "$n_ranks" "$@"
    # Open MPI's own files elsewhere: whoever ends removes their folder, be it while another begins.
    if [ "$wanted" = later ]; then
        OMPI_MCA_orte_tmpdir_base=$folder/later "$@" >"$folder/out" 2>"$folder/err.later" </dev/null &
        trained=$!
    else
        expect "$wanted" "$@"
    fi
}

# losses RUN: the lines `step loss_reconstruction loss_completion grad_norm lr` of its metrics, then
# those of its validations.
losses() {
    sed 's/[{}"]//g; s/:/,/g' "$folder/$1/metrics.jsonl" | awk -F, '
        {
            split("", value)
            for (i = 1; i < NF; i += 2) value[$i] = $(i + 1)
            if ("loss_reconstruction" in value)
                print value["step"], value["loss_reconstruction"], value["loss_completion"],
                      value["grad_norm"], value["lr"]
            else
                print "validation", value["step"], value["validation_loss_reconstruction"],
                      value["validation_loss_completion"]
        }'
}

# has_steps RUN N: its metrics hold the steps 1 to N, each once and in order.
has_steps() {
    losses "$1" | grep -v validation | awk -v n="$2" '$1 != NR { bad = 1 } END { exit bad || NR != n }' ||
        fail "$1: metrics.jsonl has not the steps 1 to $2, each once"
}

# same_losses A B: equal to the last digit.
same_losses() {
    losses "$1" >"$folder/losses.a"
    losses "$2" >"$folder/losses.b"
    [ -s "$folder/losses.a" ] && cmp -s "$folder/losses.a" "$folder/losses.b" ||
        fail "$1 and $2 differ in their losses: $(diff "$folder/losses.a" "$folder/losses.b" | head -n 4)"
}

# close_losses A B: every loss within 1e-5 relative; gradients' norms within 1e-4, as they are further
# from a minimum.
close_losses() {
    losses "$1" >"$folder/losses.a"
    losses "$2" >"$folder/losses.b"
    paste -d ' ' "$folder/losses.a" "$folder/losses.b" | awk '
        { half = NF / 2 }
        half != int(half) { print "lines of unequal length: " $0; exit }
        {
            for (i = 1; i <= half; i++) {
                a = $i; b = $(i + half); d = a - b
                if (d < 0) d = -d
                limit = i == 4 && $1 != "validation" ? 1e-4 : 1e-5
                if ((a "" != b "") && !(d <= limit * b)) { print $0; exit }
            }
        }
        END { if (NR == 0) print "no losses" }' >"$folder/far"
    [ ! -s "$folder/far" ] || fail "$1 and $2 are not within 1e-5: $(cat "$folder/far")"
}

# final_loss RUN: the last reconstruction loss.
final_loss() { losses "$1" | grep -v validation | tail -n 1 | cut -d ' ' -f 2; }

# export_run RUN: writes $folder/RUN.export.
export_run() { expect 0 "$slotpress" export --checkpoint "$folder/$1" --output "$folder/$1.export"; }

# same_weights A B: exports of both are the same bytes.
same_weights() {
    export_run "$1"
    export_run "$2"
    [ -s "$folder/$1.export/pcc.safetensors" ] || fail "$1: no pcc.safetensors"
    diff -r "$folder/$1.export" "$folder/$2.export" >/dev/null ||
        fail "$1 and $2 differ in their exported weights"
}
