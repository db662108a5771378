#!/bin/sh
# embed.sh FILE.varlink...: prints a C file that defines varlink_interface_text() over the files' texts.
set -eu

echo '/* Made by embed.sh from the .varlink files. */'
echo '#include <string.h>'
echo
echo '#include "wire/varlink.h"'
echo
echo 'static const struct {'
echo '    const char *name, *text;'
echo '} interfaces[] = {'
for file in "$@"; do
    name=${file##*/}
    echo "    {\"${name%.varlink}\","
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/     "/' -e 's/$/\\n"/' "$file"
    echo '    },'
done
cat <<'END'
};

const char *varlink_interface_text(const char *name)
{
    for (size_t i = 0; i < sizeof(interfaces) / sizeof(interfaces[0]); i++)
        if (strcmp(interfaces[i].name, name) == 0)
            return interfaces[i].text;
    return NULL;
}
END
