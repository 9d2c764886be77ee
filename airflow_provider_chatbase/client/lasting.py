"""Which failures of networks, storages and disks pass, and which stay until somebody acts."""

from __future__ import annotations

import errno
import ssl

_LASTING_ERRNOS = frozenset(
    {
        # the path, or what is there, is of another kind
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ),
        *(errno.EINVAL, errno.EXDEV, errno.ENODEV, errno.ENXIO, errno.ENOTBLK, errno.EBADF, errno.ESPIPE),
        # it is not allowed, or not possible there
        *(
            errno.EPERM,
            errno.EACCES,
            errno.EROFS,
            errno.ENOSYS,
            errno.EOPNOTSUPP,
            errno.ENOTSUP,
            errno.ENOEXEC,
        ),
        *(errno.EFBIG, errno.EMLINK, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EDESTADDRREQ),
    }
)
"""
All others pass: the storage is busy (EBUSY, EAGAIN, ETXTBSY, ENOLCK, ENOTEMPTY), the mount is gone for
now (EIO, ESTALE, ENOTCONN), something ran out (EMFILE, ENFILE, ENOMEM, ENOSPC, EDQUOT), the network failed
(all of ECONN, ENET and EHOST, ETIMEDOUT, EPIPE), a file vanished meanwhile (ENOENT).
"""

_LASTING_STATUSES = frozenset({400, 401, 403, 404, 405, 407, 410, 411, 413, 414, 415, 501})


def is_lasting(error: BaseException) -> bool:
    """Say whether a failure stays until somebody changes something, so that a retry would meet it again."""
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in causes(error)):
        return True
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return error.errno in _LASTING_ERRNOS or isinstance(error, PermissionError)
    return isinstance(error, NotImplementedError) or _http_status(error) in _LASTING_STATUSES


def causes(error: BaseException) -> list[BaseException]:
    """Return an error and what it came of, the deepest last."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        group = following.exceptions if isinstance(following, BaseExceptionGroup) else ()
        following = group[0] if group else following.__cause__ or following.__context__
    return found


def _http_status(error: BaseException) -> int | None:
    """Return the HTTP status; gcsfs, adlfs, aiohttp and botocore each keep it elsewhere."""
    for name in ("code", "status_code", "status"):
        found = getattr(error, name, None)
        if isinstance(found, int | str) and str(found).isdigit():
            return int(found)
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    status = metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None
    return status if isinstance(status, int) else None
