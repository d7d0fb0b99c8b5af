#!/bin/sh
# A report in a real browser, at a phone's and a desktop's width, light and dark: nothing is wider than the
# window, and text stands out from what is behind it.
. tests/lib.sh
for browser in chromium chromium-browser google-chrome ''; do
    [ -z "$browser" ] || ! command -v "$browser" >/dev/null || break
done
[ -n "$browser" ] || { echo "skipped: needs chromium" && exit 77; }
run=$folder/a-long-name-that-has-no-place-at-which-a-line-could-be-broken-unless-within-a-word
mkdir "$run"
awk 'BEGIN { for (s = 1; s <= 300; s++)
    printf "{\"step\":%d,\"loss_reconstruction\":%g,\"grad_norm\":1.5,\"lr\":1e-4,\"tokens\":900,\"tokens_per_second\":50,\"flops_per_second\":2e9,\"seconds\":2}\n", s, 3 / s }' >"$run/metrics.jsonl"
word=$(printf 'w%.0s' $(seq 300))
cat >"$run/evaluate.json" <<END
{"ratio": 4, "checkpoint": "$run", "bleu": 90.5, "bleu_sentence": 91, "rouge_l": 0.9, "rouge_l_stem": 0.9, "exact_match": 0.5, "token_accuracy": 0.99, "perplexity": 1.5, "segments": 8,
 "samples": [{"segment": 1, "document": "$word", "reference": "a $word", "reconstruction": "b $word"}]}
END
expect 0 "$slotpress" report "$run" --output "$folder/report.html" --peak 8G

# The page's own policy lets no script run: this copy is without it, and tells what it measured to a page
# around it, which has it as its title. Windows narrower than 500 a browser without a screen does not have.
script='<script>addEventListener("load", () => {
    const numbers = c => c.match(/[0-9.]+/g).slice(0, 3).map(x => { x /= 255; return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4 })
    const light = c => { const [r, g, b] = numbers(c); return 0.2126 * r + 0.7152 * g + 0.0722 * b }
    const page = light(getComputedStyle(document.body).backgroundColor)
    let least = 99
    for (const e of document.querySelectorAll("p, td, th, h1, h2, h3, figcaption, del, ins, svg text")) {
        const style = getComputedStyle(e)
        let back = page
        for (let up = e; up; up = up.parentElement) {
            const color = getComputedStyle(up).backgroundColor
            if (!/, 0\)$/.test(color)) { back = light(color); break }
        }
        const ink = light(e.namespaceURI.endsWith("svg") ? style.fill : style.color)
        least = Math.min(least, (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05))
    }
    const wide = [...document.querySelectorAll("p, h1, h2, h3, figure, svg, .wide, .sample")].filter(e => e.getBoundingClientRect().right > innerWidth + 1).length
    parent.postMessage(`measured ${innerWidth} ${document.documentElement.scrollWidth} ${wide} ${page < 0.5 ? "dark" : "light"} ${least.toFixed(2)} ${document.querySelectorAll("svg text").length}`, "*")
})</script>'
awk -v script="$script" '/Content-Security-Policy/ { next } { print } /^<body>/ { print script }' "$folder/report.html" >"$folder/measured.html"

# measure WIDTH SCHEME: 0 is dark, 1 light.
measure() {
    cat >"$folder/around.html" <<END
<!DOCTYPE html><html style="color-scheme: light dark"><script>onmessage = m => { document.title = m.data }</script>
<iframe src="measured.html" style="border: 0; width: ${1}px; height: 800px"></iframe>
END
    timeout 60 "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$folder/profile" --window-size=1400,900 \
        --blink-settings=preferredColorScheme="$2" --dump-dom "file://$folder/around.html" 2>"$folder/browser.err" |
        sed -n 's/.*<title>measured \([^<]*\)<.*/\1/p'
}
for width in 390 1280; do
    for scheme in 0 1; do
        # shellcheck disable=SC2046
        set -- $(measure $width $scheme)
        [ $# = 6 ] || { fail "$width, $scheme: the browser measured nothing" && continue; }
        [ "$1" = $width ] || fail "a window of $1, not $width"
        [ "$2" -le "$1" ] && [ "$3" = 0 ] || fail "$width: $2 wide in a window of $1, and $3 elements beyond it"
        [ "$4" = "$([ $scheme = 0 ] && echo dark || echo light)" ] || fail "$width: $4 in scheme $scheme"
        awk -v contrast="$5" 'BEGIN { exit contrast < 4.5 }' || fail "$width, $4: a text of contrast $5"
        ! command -v gnuplot >/dev/null || [ "$6" -gt 20 ] || fail "$width: $6 texts in plots"
    done
done
finish
