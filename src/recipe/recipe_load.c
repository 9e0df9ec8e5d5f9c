/* recipe_load.c - a recipe from a file, which may be one of another tool. */
#include "recipe/foreign.h"

/* A file that bears another tool's words is answered with all that is to be changed. */
static nib_status refuse_foreign(nib_recipe *r, const nib_yaml *y, nib_tool tool, nib_error *err)
{
    const char *path = nib_yaml_where(y);
    nib_foreign f;
    nib_status status = nib_foreign_convert(r->ctx, nib_yaml_root(y), tool, &f, err);

    if (!status) {
        nib_foreign_note(&f, path);
        status = nib_fail(err, NIB_E_INVALID,
                          "%s: a recipe of %s, to be changed as the table above says; "
                          "`nibble convert-recipe %s OUT` writes it",
                          path, nib_tool_name(tool), path);
    }
    nib_foreign_release(&f);
    return status;
}

nib_status nib_recipe_load(nib_recipe *r, const char *path, nib_error *err)
{
    nib_yaml *y = NULL;
    nib_status status = nib_yaml_read(r->ctx, path, &y, err);
    nib_tool tool;

    if (!status) {
        tool = nib_foreign_detect(nib_yaml_root(y), 2);
        status = tool == NIB_TOOLS ? nib_recipe_take_yaml(r, y, err)
                                   : refuse_foreign(r, y, tool, err);
    }
    nib_yaml_close(y);
    return status;
}
