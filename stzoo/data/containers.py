"""Opens the container of a video with FFmpeg, and picks its video stream."""

LARGEST = 2**27  # pixels of a frame: 16384x8192


def open_container(source, name, format=None, timeout=None, **options):
    """Opens a container.

    Args:
        source: string that FFmpeg can open, or a binary file object, which is read
            from its start.
        name: string, the name in error messages.
        format: string, FFmpeg's name of the format, or `None` to find out.
        timeout: float, seconds to wait for data, or `None`.
        **options: strings, options of FFmpeg.

    Returns:
        Tuple of `av.container.InputContainer` and its `av.VideoStream`.

    Raises:
        ValueError: it is not a video, or FFmpeg has no decoder for it.
    """
    import av

    if not isinstance(source, str):
        source.seek(0)
    options = {"max_pixels": str(LARGEST), **options}
    try:
        container = av.open(
            source,
            "r",
            format=format,
            options=options,
            timeout=timeout,
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise ValueError(
            f"{name} cannot be read as a video: {error.strerror}. Either it is not a "
            "video, or it is damaged (a truncated .mp4 is also unreadable). Copy or "
            "convert it again."
        ) from error
    try:
        return container, _video_stream(container, name)
    except BaseException:
        container.close()
        raise


def _video_stream(container, name):
    import av

    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not streams or container.format.name == "tty":  # tty: text files
        kinds = {stream.type for stream in container.streams} - {"video"}
        only = f", only {' and '.join(sorted(kinds))}" if kinds else ""
        raise ValueError(
            f"{name} has no video stream{only}. Pass a file with a video stream."
        )
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise ValueError(
            f"FFmpeg has no decoder for the video in {name}. Convert it, for example "
            "to H.264."
        )
    stream.codec_context.options = {"max_pixels": str(LARGEST)}
    return stream
