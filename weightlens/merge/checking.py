"""What can be known to be wrong with a recipe file without looking at a model."""

from pathlib import Path

from weightlens.merge.adapter_plan import check_adapter_recipe
from weightlens.merge.documents import Documents, read_documents


def check_recipe(file: Path, *, lenient: bool = False) -> Documents:
    """Reads all recipes of a file; unknown keys are warnings where leniency is asked for.

    Raises RecipeError, with file, line and field.
    """
    documents = read_documents(file, lenient=lenient)
    for resolution in (*documents.steps.values(), documents.last):
        if resolution.recipe.output == "adapter":
            check_adapter_recipe(resolution, documents.steps)
    return documents
