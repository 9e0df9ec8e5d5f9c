/* verb_convert.c - nibble convert-recipe: a recipe of another tool as one for finetune. */
#include <string.h>

#include "session.h"

static void print_json(const session *s, const char *text)
{
    printf("{\"recipe\": ");
    print_json_string(stdout, text, strlen(text));
    printf(", ");
    print_json_warnings(stdout, s);
    printf("}\n");
}

int verb_convert_recipe(int argc, char **argv)
{
    session s = { 0 };
    nib_convert_options o = { 0 };
    char *text = NULL;
    nib_status status;
    option options[] = {
        { "overwrite", OPTION_FLAG, &o.overwrite, NULL, "replace OUT" },
        STRICT_OPTION(&s),
        SESSION_OPTIONS(&s),
    };
    verb v = { .name = "convert-recipe", .arguments = "FILE [OUT]",
               .summary = "A recipe of LLaMA-Factory, axolotl, mlx-lm or torchtune as one for "
                          "nibble finetune,\nto OUT or standard output.  What has no counterpart "
                          "becomes a comment with the reason.",
               .options = options, .option_count = sizeof options / sizeof *options,
               .positional_wanted = 1, .positional_most = 2 };
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    o.recipe = v.positional[0];
    o.out = v.positional_count > 1 ? v.positional[1] : NULL;
    if ((code = session_begin(&s))) return code;
    status = nib_recipe_convert(s.ctx, &o, &text, &s.err);
    if (!status && s.json) print_json(&s, text);
    else if (!status && !o.out) print_text(stdout, text, strlen(text));
    if (!status) nib_report_free(s.ctx, text);
    return session_end(&s, status);
}
