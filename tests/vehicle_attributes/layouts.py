"""Small sets in the layouts of the real ones."""

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
