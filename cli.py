"""The command line: every command by name. They are in the folder `commands`.

What a command needs is imported inside it, so that `--help` is instant and works with no extra
installed.
"""

from __future__ import annotations

try:
    import click

    from vidtok_edge import __version__
    from vidtok_edge.commands.bench import bench
    from vidtok_edge.commands.build import build
    from vidtok_edge.commands.calibrate import calibrate
    from vidtok_edge.commands.compare import compare
    from vidtok_edge.commands.convert import convert
    from vidtok_edge.commands.decode import decode
    from vidtok_edge.commands.doctor import doctor
    from vidtok_edge.commands.encode import encode
    from vidtok_edge.commands.export import export
    from vidtok_edge.commands.export_recording import export_recording
    from vidtok_edge.commands.join import join
    from vidtok_edge.commands.net import Group
    from vidtok_edge.commands.plan import plan
    from vidtok_edge.commands.prove import prove
    from vidtok_edge.commands.reconstruct import reconstruct
    from vidtok_edge.commands.record import record
    from vidtok_edge.commands.recover import recover
    from vidtok_edge.commands.replay import replay
    from vidtok_edge.commands.variants import variants
    from vidtok_edge.commands.verify import verify
except KeyboardInterrupt:  # before a command is under the net of `net`
    raise SystemExit(130) from None

__all__ = ["export_main", "main"]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vidtok-edge")
def main() -> None:
    """Streaming VidTok video tokenizers on the edge: export, run, measure.

    Exit codes: 0 done; 1 a check did not pass; 2 the command was wrong; 3 the input was bad;
    4 the environment lacks something; 70 a fault in vidtok-edge; 130 Ctrl-C; 143 SIGTERM.

    VIDTOK_EDGE_DEBUG=1 shows where an error came from.
    """


main.add_command(export)
main.add_command(verify)
main.add_command(variants)
main.add_command(convert)
main.add_command(plan)
main.add_command(calibrate)
main.add_command(build)
main.add_command(prove)
main.add_command(compare)
main.add_command(encode)
main.add_command(decode)
main.add_command(reconstruct)
main.add_command(record)
main.add_command(recover)
main.add_command(join)
main.add_command(replay)
main.add_command(export_recording)
main.add_command(bench)
main.add_command(doctor)

export_main = export
"""`vidtok-export`, the same command as a program of its own."""

if __name__ == "__main__":
    main()
