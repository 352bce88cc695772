# Prints a JSON document as one line for each scalar: its path, a tab, its value.
#
#   {"keys": [{"type": "ssh"}], "uuid": "1f"}   ->   keys/0/type<TAB>ssh
#                                                    uuid<TAB>1f
#
# Newlines, tabs and backslashes in a string stay written as \n, \t, \\ for printf's %b; null gives
# no line. Status 1, possibly after some lines, when the document is not valid. In awk because a
# start of jq takes half a second under emulation.

BEGIN {
    for (code = 1; code < 256; code++) hex_of[sprintf("%02x", code)] = code
    hex_of["00"] = 0
}

{ text = text $0 "\n" }

END {
    next_token()
    value("")
    if (token != "") bad()
}

function bad() { exit 1 }

# Takes the next token off the text. A string's token is its first quote and its raw content.
function next_token() {
    sub(/^[ \t\r\n]+/, "", text)
    if (text == "") { token = ""; return }
    if (match(text, /^"([^"\\]|\\.)*"/)) {
        token = "\"" substr(text, 2, RLENGTH - 2)
    } else if (match(text, /^([][{}:,]|true|false|null|-?[0-9][-+.eE0-9]*)/)) {
        token = substr(text, 1, RLENGTH)
    } else {
        bad()
    }
    text = substr(text, RLENGTH + 1)
}

function expect(wanted) {
    if (token != wanted) bad()
    next_token()
}

function value(path) {
    if (token == "{") object(path)
    else if (token == "[") array(path)
    else if (token ~ /^"/) { print path "\t" unescaped(substr(token, 2)); next_token() }
    else if (token ~ /^[-0-9tf]/) { print path "\t" token; next_token() }
    else if (token == "null") next_token()
    else bad()
}

function member(path, name) { return path == "" ? name : path "/" name }

function object(path,    name) {
    next_token()
    if (token == "}") { next_token(); return }
    while (1) {
        if (token !~ /^"/) bad()
        name = unescaped(substr(token, 2))
        next_token()
        expect(":")
        value(member(path, name))
        if (token != ",") break
        next_token()
    }
    expect("}")
}

function array(path,    i) {
    next_token()
    if (token == "]") { next_token(); return }
    for (i = 0; ; i++) {
        value(member(path, i))
        if (token != ",") break
        next_token()
    }
    expect("]")
}

function unescaped(raw,    out, at, escape) {
    out = ""
    while ((at = index(raw, "\\")) > 0) {
        out = out substr(raw, 1, at - 1)
        escape = substr(raw, at + 1, 1)
        raw = substr(raw, at + 2)
        if (escape == "u") {
            out = out utf8(code_point(substr(raw, 1, 4)))
            raw = substr(raw, 5)
        } else if (escape ~ /[nrtbf\\]/) {
            out = out "\\" escape
        } else {
            out = out escape
        }
    }
    return out raw
}

function code_point(hex) {
    hex = tolower(hex)
    return hex_of[substr(hex, 1, 2)] * 256 + hex_of[substr(hex, 3, 2)]
}

# One half of a surrogate pair comes out as three bytes of its own: no name, key or password here
# needs better.
function utf8(code) {
    if (code == 10) return "\\n"
    if (code == 92) return "\\\\"
    if (code < 32) return " "
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
}
