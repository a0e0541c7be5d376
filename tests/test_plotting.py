"""What the figures share: saving them."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from v2a_utils.plotting import save_figure


def test_a_figure_is_saved_as_vectors_where_a_folder_is_named_and_nowhere_else(tmp_path, monkeypatch):
    figure = plt.figure()
    figure.text(0.5, 0.5, "cosine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("V2A_FIGURES", raising=False)
    save_figure(figure, "one")
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("V2A_FIGURES", str(tmp_path / "new"))
    save_figure(figure, "one")
    plt.close(figure)
    assert ">cosine</text>" in (tmp_path / "new" / "one.svg").read_text()
