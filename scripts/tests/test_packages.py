"""The files in docker/ and those of packages hold to the rules of their readers, and each rule can be broken."""

import shutil
import unittest

from standins import ROOT, Packaging

import checks
import image
import rootfs
import stage
from problem import Problem


class Rules(Packaging):
    def with_change(self, source, name, old, new):
        """A copy of the folder `source` with a change in one file."""
        copy = self.folder / "changed"
        shutil.copytree(source, copy, dirs_exist_ok=True)
        text = (copy / name).read_text()
        self.assertIn(old, text)
        (copy / name).write_text(text.replace(old, new))
        return copy

    def test_what_is_there_is_accepted(self):
        for check in (checks.dockerfiles, checks.compose, checks.kubernetes, checks.scripts, checks.unit):
            self.assertEqual(check(), [], check.__name__)

    def test_a_dockerfile_that_its_reader_minds_is_refused(self):
        changed = self.with_change(checks.DOCKER, "Dockerfile", "WORKDIR /data", "WORKDIR data")
        found = "\n".join(checks.dockerfiles(changed))
        self.assertIn("DL3000", found)
        self.assertIn("only in one of the Dockerfiles: WORKDIR /data", found)

    def test_a_compose_file_with_an_unknown_field_is_refused(self):
        changed = self.with_change(checks.DOCKER, "compose.yaml", "read_only: true", "readonly: true")
        self.assertIn("readonly", "\n".join(checks.compose(changed)))

    def test_objects_with_unknown_fields_or_more_rights_are_refused(self):
        for old, new, complaint in (
            ("enableServiceLinks: false", "enableServiceLink: false", "enableServiceLink"),
            ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "readOnlyRootFilesystem"),
            ("drop: [ALL]", "drop: [NET_RAW]", "capabilities"),
            ("runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"),
            ("claimName: data", "claimName: data\n        - name: host\n          hostPath:\n            path: /", "volume host"),
        ):
            changed = self.with_change(checks.KUBERNETES, "base/deployment.yaml", old, new)
            self.assertIn(complaint, "\n".join(checks.kubernetes(changed)))
            shutil.rmtree(changed)

    @unittest.skipUnless(shutil.which("kubectl"), "needs kubectl")
    def test_an_overlay_that_fits_nothing_is_refused(self):
        changed = self.with_change(checks.KUBERNETES, "gpu/deployment.yaml", "name: finetuned\n  namespace", "name: other\n  namespace")
        self.assertIn("no matches", "\n".join(checks.kubernetes(changed)))

    @unittest.skipUnless(shutil.which("systemd-analyze"), "needs systemd")
    def test_a_unit_that_is_open_or_misspelt_is_refused(self):
        changed = self.with_change(checks.FILES, "finetuned.service", "CapabilityBoundingSet=\n", "")
        self.assertIn("exposure is over", "\n".join(checks.unit(changed / "finetuned.service")))
        changed = self.with_change(checks.FILES, "finetuned.service", "PrivateTmp=", "PrivateTemp=")
        self.assertIn("PrivateTemp", "\n".join(checks.unit(changed / "finetuned.service")))


class Rootfs(Packaging):
    def test_it_reads_the_last_stage_only(self):
        read = image.last_stage(ROOT / "docker/Dockerfile.cuda")
        self.assertEqual((read.base, read.user, read.folder, read.libtorch), ("debian:12-slim", "10001:10001", "/data", "cuda"))
        self.assertEqual([step[0] for step in read.steps], ["RUN", "COPY", "COPY"])
        self.assertEqual(read.steps[1], ("COPY", ["/stage", "/"], True))
        self.assertEqual(read.entry + read.command, ["tini", "--", "finetuned", "serve"])
        self.assertEqual(read.environment["FINETUNED_DATA_DIR"], "/data")

    def test_a_step_that_it_does_not_know_is_not_left_out(self):
        file = self.folder / "Dockerfile"
        file.write_text("FROM debian:12-slim\nADD one /two\n")
        with self.assertRaisesRegex(Problem, "the instruction ADD"):
            image.last_stage(file)
        file.write_text("FROM scratch\n")
        with self.assertRaisesRegex(Problem, "the base scratch"):
            rootfs.build(image.last_stage(file), self.folder / "root", None)

    def test_the_stage_keeps_the_places_in_which_cudas_libraries_find_each_other(self):
        site = self.folder / "site"
        for name in ("torch/lib/libtorch_cuda.so", "torch/lib/libgomp.so.1", "nvidia/cu13/lib/libcudart.so.13", "torch/include/torch.h"):
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(name)
        home = self.folder / "home"
        stage.place(site / "torch", home)
        self.assertEqual((home / "libtorch/lib/libtorch_cuda.so").read_text(), "torch/lib/libtorch_cuda.so")
        self.assertTrue((home / "libtorch/lib/../../nvidia/cu13/lib/libcudart.so.13").exists())
        self.assertEqual({path.name for path in home.rglob("*") if path.is_file()}, {"libtorch_cuda.so", "libgomp.so.1", "libcudart.so.13"})

    def test_a_folder_that_holds_something_is_not_filled(self):
        (self.folder / "mine").write_text("")
        with self.assertRaisesRegex(Problem, "not empty"):
            stage.stage(self.folder)
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"mine", "built"})


if __name__ == "__main__":
    unittest.main()
