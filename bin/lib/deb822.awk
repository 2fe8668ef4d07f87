# *.sources: paragraphs of fields, each URI with each suite. A key given in full
# (Signed-By over several lines) is left out: the image's own keys are used then.
function flush(   i, j, uris, suites, nu, ns, options) {
    if (field["types"] ~ /(^| )deb( |$)/ && tolower(field["enabled"]) !~ /^(no|false|0)$/ && field["components"] != "") {
        options = ""
        if (field["signed-by"] ~ /^\//)
            options = "signed-by=" field["signed-by"]
        if (tolower(field["trusted"]) == "yes")
            options = options (options == "" ? "" : " ") "trusted=yes"
        gsub(/ /, ",", options)
        sub(/,trusted/, " trusted", options)
        nu = split(field["uris"], uris, " ")
        ns = split(field["suites"], suites, " ")
        for (i = 1; i <= nu; i++)
            for (j = 1; j <= ns; j++)
                printf "%s|%s|%s|%s\n", uris[i], suites[j], options == "" ? "" : "[" options "] ", field["components"]
    }
    split("", field)
    last = ""
}
/^[ \t]*$/ { flush(); next }
/^#/ { next }
/^[ \t]/ {
    sub(/^[ \t]+/, "")
    if (last != "")
        field[last] = field[last] (field[last] == "" ? "" : " ") $0
    next
}
{
    colon = index($0, ":")
    last = tolower(substr($0, 1, colon - 1))
    value = substr($0, colon + 1)
    gsub(/^[ \t]+|[ \t]+$/, "", value)
    field[last] = value
}
END { flush() }
