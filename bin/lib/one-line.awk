# sources.list, one entry a line: deb [options] URI SUITE COMPONENT...
$1 == "deb" {
    sub(/#.*/, "")
    options = ""
    line = $0
    if (match(line, /\[[^]]*\]/)) {
        count = split(substr(line, RSTART + 1, RLENGTH - 2), words, " ")
        line = "deb " substr(line, RSTART + RLENGTH)
        for (i = 1; i <= count; i++)
            if (tolower(words[i]) ~ /^(signed-by|trusted)=/)
                options = options (options == "" ? "" : " ") words[i]
    }
    count = split(line, words, " ")
    if (count < 4)
        next
    components = words[4]
    for (i = 5; i <= count; i++)
        components = components " " words[i]
    printf "%s|%s|%s|%s\n", words[2], words[3], options == "" ? "" : "[" options "] ", components
}
