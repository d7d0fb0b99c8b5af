# Evaluations in a job (`. evaluate.sh`, after launch.sh): tasks of `slotpress evaluate` one after the
# other over all ranks, each result a file of its own.
# shellcheck shell=bash
# shellcheck disable=SC2154 # of launch.sh

folder=            # where results lie: evaluate-NAME.json
names=() commands=() # of the tasks: a name, and the words after `evaluate`, each in quotes

add_task() { # add_task NAME WORD...
    local name=$1
    shift
    [[ $name =~ ^[[:alnum:]._-]+$ ]] ||
        give_up 64 "'$name' is no name for a result: letters, digits, . _ and - only"
    [[ " ${names[*]} " != *" $name "* ]] || give_up 64 "two tasks are named '$name'"
    names+=("$name") commands+=("${*@Q}")
}

# add_list FILE PREFIX [WORD...]: a task a line, `NAME TASK WORD...`, quotes being as in a shell; their
# names begin with PREFIX, and all get the last words, too.
add_list() {
    local list=$1 prefix=$2 line quoted words
    shift 2
    while IFS= read -r line || [ -n "$line" ]; do
        [[ ! $line =~ ^[[:space:]]*(#|$) ]] || continue
        quoted=$(xargs -n1 printf '%q\n' <<<"$line") || give_up 64 "'$list': a quote without its end: $line"
        eval "words=($quoted)"
        [ ${#words[@]} -ge 2 ] || give_up 64 "'$list': no NAME TASK WORD...: $line"
        add_task "$prefix${words[0]}" "${words[@]:1}" "$@"
    done <"$list"
    [ ${#names[@]} -gt 0 ] || give_up 64 "'$list' has no tasks"
}

# is_evaluated NAME COMMAND: by the same words, and nothing that they name is newer.
is_evaluated() {
    local result=$folder/evaluate-$1.json word
    [ -s "$result" ] && [ "$(cat "$folder/.evaluate-$1.words" 2>/dev/null)" = "$2" ] || return 1
    eval "set -- $2"
    for word; do
        [[ $word != --*=* ]] || word=${word#*=}
        # Of a run its checkpoints count: its folder changes with whatever is written there.
        if [ -d "$word" ]; then
            [ -z "$(find -H "$word" -maxdepth 2 -name manifest.json -newer "$result" 2>/dev/null)" ] || return 1
        elif [ "$word" -nt "$result" ]; then
            return 1
        fi
    done
}

# evaluate NAME COMMAND: a result is there when it is whole; what is answered until then is kept in
# .evaluate-NAME.work beside it. `code` as by run.
evaluate() {
    local result=$folder/evaluate-$1.json work=$folder/.evaluate-$1.work words
    eval "words=($2)"
    local keep=(--work "$work")
    [ "${words[0]}" != efficiency ] || keep=() # measured anew
    rm -f "$folder/.evaluate-$1.words"
    exec {results}>"$result.part" || give_up 74 "cannot write '$result.part'"
    run "$SLOTPRESS" evaluate "${words[0]}" --json --expect-ranks "$SLURM_NTASKS" "${keep[@]}" "${words[@]:1}"
    exec {results}>&-
    results=
    if [ "$code" != 0 ]; then
        rm -f "$result.part"
    elif mv "$result.part" "$result" && printf '%s\n' "$2" >"$folder/.evaluate-$1.words"; then
        rm -rf "$work"
        say "'$result' is there"
    else
        give_up 74 "cannot write '$result'"
    fi
}

count_results() { # count_results FIRST STEP: results, and the lines of answers of those that are not yet
    local k n=0 n_lines=0
    for ((k = $1; k < ${#names[@]}; k += $2)); do
        ! is_evaluated "${names[k]}" "${commands[k]}" || n=$((n + 1))
        n_lines=$((n_lines + $(cat "$folder/.evaluate-${names[k]}.work"/*/answers-* 2>/dev/null | wc -l)))
    done
    echo "$n-results-$n_lines-answers"
}

# evaluate_all FIRST STEP NAME: tasks FIRST, FIRST + STEP and so on, until their results are there.
# Failures are counted in the folder NAME beside them. A bad task keeps no other from being done, but
# ends the job.
evaluate_all() {
    local first=$1 step=$2 i bad=
    run_dir=$folder/$3
    mkdir -p "$run_dir" || give_up 74 "cannot create '$run_dir'"
    [ "$restarts" -gt 0 ] || rm -f "$run_dir/failures"
    [ "$restarts" -le "$max_restarts" ] || give_up 1 "restarted $restarts times, no more (max_restarts in site.sh)"
    # What requeue_failed takes for progress.
    # shellcheck disable=SC2317 # requeue_failed calls it
    newest_checkpoint() { count_results "$first" "$step"; }
    for ((i = first; i < ${#names[@]}; i += step)); do
        if is_evaluated "${names[i]}" "${commands[i]}"; then
            say "'${names[i]}' is evaluated: nothing to do"
            continue
        fi
        trap 'pass_on USR1' USR1
        trap 'pass_on TERM' TERM
        evaluate "${names[i]}" "${commands[i]}"
        case $code:$told in
        0:*) ;;
        *:TERM) give_up "$code" "cancelled" ;;
        64:* | 65:* | 76:*)
            say "'${names[i]}': exit code $code is not tried again"
            rm -rf "$folder/.evaluate-${names[i]}.work"
            bad=${bad:-$code}
            ;;
        *) requeue_failed ;;
        esac
    done
    rm -rf "$run_dir"
    [ -z "$bad" ] || give_up "$bad" "not every task could be evaluated"
}
