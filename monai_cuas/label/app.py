# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The app that a hospital runs: ``main.py`` of the app's folder holds nothing but an import of it."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from .. import __version__
from ..utils import user_message
from .datastore import CheckedDatastore
from .infer import AUTO, LABELS, MODEL, ServedTasks
from .lifeline import end_with_the_server, is_server
from .line import heavy
from .model import ServedModel
from .offered import OfferedModels, asked_of
from .proposals import keep_proposal
from .reading import MostAnomalousFirst, ScanScoring, keep_score
from .requests import InferOptions, Upload, check_tag, refuse
from .sequences import Asked
from .sessions import CheckedSessions
from .temporary import own_temporary_folder
from .training import TrainOnNormals

__all__ = ["CUASApp"]

logger = logging.getLogger(__name__)


class CUASApp(MONAILabelApp):
    """
    MONAI Label with this package's model, its own datastore, and a check on each request.

    Args:
        app_dir: folder that ``python -m monai_cuas label-app`` made.
        studies: folder of scans, or URL of a DICOMweb server.
        conf: what ``--conf`` says: ``seconds``, the time for scoring in one request for the next scan, and
            ``train_overlay``, a JSON file with ids of train.json to override.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        # Below this MONAI Label logs names of files and, for DICOM, patients; and all that its processes print.
        for name in ("monailabel", "dicomweb_client", "task_train", "task_scoring", "task_batch_infer"):
            logging.getLogger(name).setLevel(logging.ERROR)
        end_with_the_server()
        if "start_server" in sys.argv:
            own_temporary_folder(app_dir)
        self.model = ServedModel(Path(app_dir, "model", MODEL))
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name=f"monai_cuas {__version__}",
            description="Anomalies in brain scans, found by a network trained on normal scans only",
            version=__version__,
            labels=list(LABELS),
        )
        self.offered = OfferedModels(self._infers)
        _take_over()

    def init_infers(self) -> dict[str, InferTask]:
        return ServedTasks(self.model)  # type: ignore[return-value]

    def init_trainers(self) -> dict[str, TrainTask]:
        return {MODEL: TrainOnNormals(self.model, self.conf.get("train_overlay"))}

    def init_strategies(self) -> dict[str, Strategy]:
        strategy = MostAnomalousFirst(self.model, float(self.conf.get("seconds", 20)))
        # Clients ask for "random" or "first" unless told otherwise.
        return {"most_anomalous": strategy, "random": strategy, "first": strategy}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        return {"scan_score": ScanScoring(self.model)}

    def init_datastore(self) -> Datastore:
        studies: str = self.studies  # type: ignore[has-type]
        if studies.startswith(("http://", "https://")):
            self.studies = studies.rstrip("/").strip()
            from .dicomweb import connect

            return connect(self.studies)
        return CheckedDatastore(studies, settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD)

    def _load_sessions(self, load: bool = False) -> Any:
        if not load:
            return None
        return CheckedSessions(settings.MONAI_LABEL_SESSION_PATH, settings.MONAI_LABEL_SESSION_EXPIRY)

    def server_mode(self, mode: bool) -> None:
        """MONAI Label tells here that this process serves; those that it starts must end with it."""
        super().server_mode(mode)
        if mode:
            is_server()

    def info(self) -> dict[str, Any]:
        """What MONAI Label says, and the files of the models' folder that are left out."""
        return {**super().info(), "models_left_out": self._infers.shelf.left_out()}

    def infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """
        Run a model on an image of the datastore, on several of one study, or on an :class:`Upload`.

        Raises:
            HTTPException: 4xx with a sentence: unknown model or image, bad option, a scan that cannot be used.
        """
        request = dict(request)
        datastore = datastore or self.datastore()
        saving = bool(request.get("save_label"))
        tag = check_tag(str(request.get("label_tag", DefaultLabelTag.ORIGINAL.value)))
        if tag == DefaultLabelTag.FINAL.value:
            raise refuse(400, "A model's mask is not saved as 'final', which is for a reader's label alone.")
        uploaded = isinstance(request.get("image"), Upload)
        asked = asked_of(request, datastore)
        offer = self.offered.for_model(str(request.get("model")), asked)
        ids = () if uploaded else offer.images
        request["image_names"] = ["The uploaded scan"] if uploaded else list(ids)
        request["image"] = [str(request["image"])] if uploaded else [datastore.get_image_uri(i) for i in ids]
        request["notes"] = offer.notes
        request["folder"] = request.get("folder") if isinstance(request.get("folder"), Upload) else None
        if request["folder"] is None:
            request["folder"] = tempfile.mkdtemp(prefix="cuas-")
        file, params = self._infers[offer.model](request)
        if ids:
            params["images"] = list(ids)
        label = file
        if len(ids) == 1 and params["weights"] == self.model.digest:
            # It hangs on the weights alone, so what a reader's request found serves the strategy too.
            keep_score(datastore, ids[0], {"score": params["scan_score"], "weights": params["weights"]})
        if ids and request.get("proposes", True):
            keep_proposal(datastore, ids[0], params)
        if saving and ids and file is not None:
            kept = {key: value for key, value in params.items() if key != "anomaly_file"}
            said = {"model": offer.model, "params": kept, "user": str(request.get("user", "")), "by": "model"}
            label = datastore.save_label(ids[0], file, tag, said)
        return {"label": label, "tag": tag, "file": file, "params": params, "image": ids[0] if ids else ""}

    def batch_infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """One scan after another; a scan that cannot be used gets its sentence and the others go on."""
        datastore = datastore or self.datastore()
        InferOptions.of(request, self.model.defaults)
        listing = {"labeled": datastore.get_labeled_images, "unlabeled": datastore.get_unlabeled_images}
        images = request.get("images", "all")
        ids = images if isinstance(images, list) else listing.get(str(images), datastore.list_images)()
        result: dict[str, Any] = {}
        for image in sorted(ids)[: int(request.get("max_batch_size") or 0) or None]:
            with tempfile.TemporaryDirectory(prefix="cuas-") as folder:
                asked = {**request, "image": image, "images": None, "save_label": True, "folder": Upload(folder)}
                try:
                    with heavy.turn(refuse_when_full=False):
                        done = self.infer(asked, datastore)
                    result[image] = {"label": done["label"], "params": done["params"]}
                except HTTPException as error:
                    result[image] = {"error": error.detail}
                except Exception as error:
                    logger.error("%s in a batch.", type(error).__name__)
                    result[image] = {"error": user_message(error) or f"It failed ({type(error).__name__})."}
        return result

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """
        The scan to read next; where it lies on the server is not told.

        Raises:
            HTTPException: 404 for an unknown strategy.
        """
        if str(request.get("strategy")) not in self._strategies:
            raise refuse(404, f"There is no such strategy; there is {', '.join(self._strategies)}.")
        found = {key: value for key, value in super().next_sample(request).items() if key != "path"}
        if found:
            asked = asked_of({"image": found["id"]}, self.datastore())
            found["model"] = self.offered.for_model(AUTO, asked).model
            # the score is that of the model that trains here, whatever the scan is
            found["notes"] = self._doubts(asked)
        return found

    def _doubts(self, asked: Asked) -> list[str]:
        try:
            return list(self.offered.for_model(MODEL, asked).notes)
        except HTTPException as error:
            return [str(error.detail)]

    def infer_wsi(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        raise refuse(404, "Slides are not supported.")


def _take_over() -> None:
    """
    Let the checked routes answer although the server was started with MONAI Label's own, as its command does.

    The app is made while that server starts; from then on it passes each request on.
    """
    stock = sys.modules.get("monailabel.app")
    if stock is not None and "monai_cuas.label.server" not in sys.modules:
        from .server import app

        stock.app.middleware_stack = app
        logger.warning("MONAI Label's own routes are replaced by the checked ones of monai_cuas.label.server.")
