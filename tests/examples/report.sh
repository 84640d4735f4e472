#!/bin/sh
# The report in the tools of those who read it: tidy finds no error, and headless chromium none while
# it shows the page. What is not installed is skipped.
. "$(dirname "$0")/check"

skip() {
    echo "SKIP report: $1 is not installed"
    skipped=$((skipped + 1))
}

GOMEM_DEBUG=profile=16KiB,write=report:$tmp/report.html "$bin/wordfreq" -r 5 README.md >"$tmp/out"
check 'report: status' test $? -eq 0
has 'report: is complete' "$tmp/report.html" '</html>'

if command -v tidy >/dev/null 2>&1; then
    # It does not know all of SVG: its warnings about that are left out.
    tidy -q -e "$tmp/report.html" 2>&1 | grep -v 'proprietary attribute' >"$tmp/tidy"
    same 'tidy: finds nothing' /dev/null "$tmp/tidy"
else
    skip tidy
fi

# The page as it is after its script has run; what the console says goes to $tmp/err.
show() {
    timeout 120 chromium --headless --no-sandbox --disable-gpu --enable-logging=stderr --dump-dom \
        "--window-size=$2,800" "file://$1" >"$tmp/dom" 2>"$tmp/err"
}

if command -v chromium >/dev/null 2>&1; then
    show "$tmp/report.html" 1000
    check 'chromium: shows it' grep -q '</html>' "$tmp/dom"
    check 'chromium: its script has run' grep -q '<th scope="col" tabindex="0">' "$tmp/dom"
    grep CONSOLE "$tmp/err" >"$tmp/console"
    same 'chromium: the console is empty' /dev/null "$tmp/console"
    # a page that measures itself, and complains
    { cat "$tmp/report.html"; cat; } >"$tmp/wide.html" <<'END'
<script>
const d = document.documentElement;
document.title = 'width ' + d.scrollWidth + ' of ' + d.clientWidth;
console.error('complaint');
</script>
END
    show "$tmp/wide.html" 400
    check 'chromium: complaints are seen' grep -q 'CONSOLE.*complaint' "$tmp/err"
    check 'chromium: 400 pixels suffice' grep -q '<title>width \([0-9]*\) of \1</title>' "$tmp/dom"
else
    skip chromium
fi
finish
