"""Where the mask of an id lies, as ``dataset.custom.mask`` describes it: "masks/{id}.png", "{id:images=masks}.png"."""

import re
from pathlib import PurePosixPath
from typing import NamedTuple

_FIELD = re.compile(r"\{(id|stem)(?::([^{}:=/]+)=([^{}:=/]+))?\}")


class MaskTemplate(NamedTuple):
    """``before`` and ``after`` stand around the id. without_ending: ids carry an ending that masks do not (``{stem}``).

    image_folder, mask_folder: the folder that an id has for its image and the one in its place for the mask, amid the
    path (train/images/1 -> train/masks/1); "" where masks lie in the same folders.
    """

    before: str
    after: str
    without_ending: bool = False
    image_folder: str = ""
    mask_folder: str = ""

    def path(self, sample: str) -> str:
        """Path of the mask below the data root. The last folder of that name counts; without one it lies beside."""
        if self.without_ending:
            sample = str(PurePosixPath(sample).with_suffix(""))
        if self.mask_folder:
            *folders, name = sample.split("/")
            at = next((i for i in reversed(range(len(folders))) if folders[i] == self.image_folder), len(folders))
            sample = "/".join((*folders[:at], self.mask_folder, *folders[at + 1 :], name))
        return f"{self.before}{sample}{self.after}"

    def in_mask_folder(self, path: str) -> bool:
        """Whether a path lies below a folder of masks amid the images' (the last of both kinds counts)."""
        kinds = [name for name in path.split("/")[:-1] if name in (self.image_folder, self.mask_folder)]
        return bool(self.mask_folder and kinds) and kinds[-1] == self.mask_folder


def mask_template(text: str) -> MaskTemplate:
    """The template that is written so. Raises: ValueError if it does not hold one field alone, or renames nothing."""
    field = _FIELD.search(text)
    if field is None or text.count("{") != 1 or text.count("}") != 1:
        raise ValueError(f"expected {{id}} once, got {text!r}")
    kind, image_folder, mask_folder = field.groups(default="")
    if mask_folder and image_folder == mask_folder:
        raise ValueError(f"expected two names of folders, got {text!r}")
    return MaskTemplate(text[: field.start()], text[field.end() :], kind == "stem", image_folder, mask_folder)
