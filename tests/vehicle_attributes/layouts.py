"""Small sets in the layouts of the real ones."""

import numpy as np
import scipy.io

from vehicle_attributes.data import PHOTOGRAPHS


def write_files(root, files):
    """Writes texts or bytes to paths below a folder, which is returned."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def write_veri_wild(root, info, lists, images):
    """VERI-Wild: `info` is the text of its table; `images` has the bytes of each ("ID/IMAGE")."""
    files = {f"images/{key}.jpg": content for key, content in images.items()}
    files |= {f"train_test_split/{name}": "\n".join(lines) + "\n" for name, lines in lists.items()}
    return write_files(root, {**files, "train_test_split/vehicle_info.txt": info})


def write_photographed_veri_wild(root):
    """The embedded photographs as VERI-Wild: 15 of each type to train and 10 to test, with four makes in turn."""
    info, photographs, sides = ["id/image;Camera ID;Time;Model;Type;Color"], {}, ([], [])
    for folder in sorted(path for path in PHOTOGRAPHS.iterdir() if path.is_dir()):
        for i, path in enumerate(sorted(folder.iterdir())[:25]):
            key = f"{len(info):05d}/{len(info):06d}"
            photographs[key] = path.read_bytes()
            sides[i >= 15].append(key)
            info.append(f"{key};1;2018-03-11 08:00:05;make {len(info) % 4};{folder.name};white")
    lists = {"train_list.txt": sides[0], "test_3000.txt": sides[1][1:], "test_3000_query.txt": sides[1][:1]}
    return write_veri_wild(root, "\n".join(info) + "\n", lists, photographs)


def cells(values):
    """A cell array as MATLAB writes it: an empty text is an array without elements."""
    table = np.empty(np.shape(values), object)
    for place in np.ndindex(table.shape):
        value = np.array(values, object)[place]
        table[place] = np.array(value) if value != "" else np.empty((0, 0))
    return table


def column(*names):
    return cells([[name] for name in names])


def write_compcars(root, lists, images, labels, attributes, types, names):
    """CompCars from the web.

    `lists` has the lines ("MAKE/MODEL/YEAR/IMAGE") of each split, `images` the bytes of each and `labels` the text,
    `attributes` is the text of the table of models; `types` and `names` are what MATLAB's files name.
    """
    files = {f"image/{line}": content for line, content in images.items()}
    files |= {f"label/{line[:-4]}.txt": text for line, text in labels.items()}
    files |= {f"train_test_split/classification/{name}.txt": "\n".join(lines) + "\n" for name, lines in lists.items()}
    write_files(root, {**files, "misc/attributes.txt": attributes})
    scipy.io.savemat(root / "misc/make_model_name.mat", names)
    scipy.io.savemat(root / "misc/car_type.mat", {"types": cells([types])})
    return root
