"""What is wrong with a recipe without making it impossible: an error or, leniently, a warning."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from weightlens.merge.written import Location, Written

Model = TypeVar("Model", bound=BaseModel)


class Complaints:
    """Collects warnings about a text; raises RecipeError for what is unknown, unless lenient."""

    def __init__(self, written: Written, lenient: bool) -> None:
        """lenient: unknown keys are ignored with a warning, as mergekit ignores them without."""
        self.written, self.lenient = written, lenient
        self.warnings: list[str] = []

    def warn(self, place: Location, message: str) -> None:
        """Adds a warning with file, line and field."""
        self.warnings.append(str(self.written.error(place, message)))

    def unknown(self, place: Location, message: str) -> None:
        """An error, or a warning where leniency was asked for."""
        if not self.lenient:
            raise self.written.error(place, message)
        self.warn(place, f"{message}; ignored")

    def validated(self, model: type[Model], values: Any) -> Model:
        """The model of these values; unknown keys are taken out of them where that is allowed.
        Raises RecipeError."""
        while True:
            try:
                return model.model_validate(values)
            except ValidationError as error:
                extra = [e["loc"] for e in error.errors() if e["type"] == "extra_forbidden"]
                if not self.lenient or not extra:
                    raise self.written.complaint(error, model) from error
                self.warnings.append(f"{self.written.complaint(error, model)}; ignored")
                owner = values
                for part in extra[0][:-1]:
                    owner = owner[part]
                del owner[extra[0][-1]]
