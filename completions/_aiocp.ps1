
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'aiocp' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'aiocp'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'aiocp' {
            [CompletionResult]::new('-t', '-t', [CompletionResultType]::ParameterName, 'Copy all SOURCEs into DIRECTORY')
            [CompletionResult]::new('--target-directory', '--target-directory', [CompletionResultType]::ParameterName, 'Copy all SOURCEs into DIRECTORY')
            [CompletionResult]::new('--preserve', '--preserve', [CompletionResultType]::ParameterName, 'Keep mode, ownership, timestamps, links, context, xattr or all')
            [CompletionResult]::new('--no-preserve', '--no-preserve', [CompletionResultType]::ParameterName, 'Do not keep this')
            [CompletionResult]::new('--sparse', '--sparse', [CompletionResultType]::ParameterName, 'Holes: auto keeps them, always makes them of zeros, never fills them')
            [CompletionResult]::new('--reflink', '--reflink', [CompletionResultType]::ParameterName, 'Clone files: auto, always, never')
            [CompletionResult]::new('--update', '--update', [CompletionResultType]::ParameterName, 'Replace all, none, none-fail (a failure) or older (the default) files')
            [CompletionResult]::new('--backup', '--backup', [CompletionResultType]::ParameterName, 'The same, with names: none, numbered, existing (default), simple')
            [CompletionResult]::new('-S', '-S ', [CompletionResultType]::ParameterName, 'What simple backups end in, instead of "~"')
            [CompletionResult]::new('--suffix', '--suffix', [CompletionResultType]::ParameterName, 'What simple backups end in, instead of "~"')
            [CompletionResult]::new('--exclude', '--exclude', [CompletionResultType]::ParameterName, 'Leave out what matches, as in rsync')
            [CompletionResult]::new('--include', '--include', [CompletionResultType]::ParameterName, 'Keep what matches, and a later --exclude would leave out')
            [CompletionResult]::new('--exclude-from', '--exclude-from', [CompletionResultType]::ParameterName, 'Read --exclude patterns from a file, one a line ("-": stdin)')
            [CompletionResult]::new('--include-from', '--include-from', [CompletionResultType]::ParameterName, 'Read --include patterns from a file, one a line ("-": stdin)')
            [CompletionResult]::new('--min-size', '--min-size', [CompletionResultType]::ParameterName, 'Leave out files that are smaller')
            [CompletionResult]::new('--max-size', '--max-size', [CompletionResultType]::ParameterName, 'Leave out files that are larger')
            [CompletionResult]::new('--files-from', '--files-from', [CompletionResultType]::ParameterName, 'Copy only the paths in a file, relative to SOURCE ("-": stdin)')
            [CompletionResult]::new('--manifest', '--manifest', [CompletionResultType]::ParameterName, 'Write each file''s BLAKE3 hash ("-": stdout)')
            [CompletionResult]::new('--direct', '--direct', [CompletionResultType]::ParameterName, 'Go past the page cache with O_DIRECT: auto, always, never')
            [CompletionResult]::new('--engine', '--engine', [CompletionResultType]::ParameterName, 'Who moves the blocks of big files [default: kernel, or threads where it cannot be had]')
            [CompletionResult]::new('--queue-depth', '--queue-depth', [CompletionResultType]::ParameterName, 'Blocks in flight, 1 to 4096')
            [CompletionResult]::new('--block-size', '--block-size', [CompletionResultType]::ParameterName, 'Bytes a block, a power of two from 4K to 64M')
            [CompletionResult]::new('--threads', '--threads', [CompletionResultType]::ParameterName, 'Workers, 1 to 1024')
            [CompletionResult]::new('--bwlimit', '--bwlimit', [CompletionResultType]::ParameterName, 'Read at most so much a second, KiB without a unit; 0 for no limit')
            [CompletionResult]::new('--journal-interval', '--journal-interval', [CompletionResultType]::ParameterName, 'With --resume, bytes of a big file that may be copied again')
            [CompletionResult]::new('--progress', '--progress', [CompletionResultType]::ParameterName, 'Show how far it is: auto, always, never')
            [CompletionResult]::new('--log-file', '--log-file', [CompletionResultType]::ParameterName, 'Add what happens to FILE, a line each')
            [CompletionResult]::new('--failed-list', '--failed-list', [CompletionResultType]::ParameterName, 'Write what failed, for --files-from ("-": stdout)')
            [CompletionResult]::new('--report', '--report', [CompletionResultType]::ParameterName, 'Write a page about the run: rates, latencies, slow files, failures')
            [CompletionResult]::new('--completions', '--completions', [CompletionResultType]::ParameterName, 'Print a completion script: bash, zsh, fish, elvish, powershell')
            [CompletionResult]::new('-T', '-T ', [CompletionResultType]::ParameterName, 'Take DEST as the copy''s name: merge trees')
            [CompletionResult]::new('--no-target-directory', '--no-target-directory', [CompletionResultType]::ParameterName, 'Take DEST as the copy''s name: merge trees')
            [CompletionResult]::new('-r', '-r', [CompletionResultType]::ParameterName, 'Accepted, as is -R: directories are always copied whole')
            [CompletionResult]::new('--recursive', '--recursive', [CompletionResultType]::ParameterName, 'Accepted, as is -R: directories are always copied whole')
            [CompletionResult]::new('-p', '-p', [CompletionResultType]::ParameterName, 'Keep owner and group too')
            [CompletionResult]::new('-a', '-a', [CompletionResultType]::ParameterName, 'Keep everything, also owners and devices')
            [CompletionResult]::new('--archive', '--archive', [CompletionResultType]::ParameterName, 'Keep everything, also owners and devices')
            [CompletionResult]::new('--parents', '--parents', [CompletionResultType]::ParameterName, 'Make again below DIRECTORY the folders that SOURCE names')
            [CompletionResult]::new('--strip-trailing-slashes', '--strip-trailing-slashes', [CompletionResultType]::ParameterName, 'Take no notice of slashes at the end of a SOURCE')
            [CompletionResult]::new('-L', '-L ', [CompletionResultType]::ParameterName, 'Follow all symbolic links in SOURCE')
            [CompletionResult]::new('--dereference', '--dereference', [CompletionResultType]::ParameterName, 'Follow all symbolic links in SOURCE')
            [CompletionResult]::new('-P', '-P ', [CompletionResultType]::ParameterName, 'Copy symbolic links as links, also if named as SOURCE (default)')
            [CompletionResult]::new('--no-dereference', '--no-dereference', [CompletionResultType]::ParameterName, 'Copy symbolic links as links, also if named as SOURCE (default)')
            [CompletionResult]::new('-H', '-H ', [CompletionResultType]::ParameterName, 'Follow symbolic links that are named as SOURCE')
            [CompletionResult]::new('-d', '-d', [CompletionResultType]::ParameterName, 'The same as -P --preserve=links')
            [CompletionResult]::new('-x', '-x', [CompletionResultType]::ParameterName, 'Do not go into directories on other filesystems')
            [CompletionResult]::new('--one-file-system', '--one-file-system', [CompletionResultType]::ParameterName, 'Do not go into directories on other filesystems')
            [CompletionResult]::new('-l', '-l', [CompletionResultType]::ParameterName, 'Make hard links to the files instead of copies')
            [CompletionResult]::new('--link', '--link', [CompletionResultType]::ParameterName, 'Make hard links to the files instead of copies')
            [CompletionResult]::new('-s', '-s', [CompletionResultType]::ParameterName, 'Make symbolic links to the files instead of copies')
            [CompletionResult]::new('--symbolic-link', '--symbolic-link', [CompletionResultType]::ParameterName, 'Make symbolic links to the files instead of copies')
            [CompletionResult]::new('--attributes-only', '--attributes-only', [CompletionResultType]::ParameterName, 'Copy no data, only what --preserve names')
            [CompletionResult]::new('--no-sync', '--no-sync', [CompletionResultType]::ParameterName, 'Do not wait for the device')
            [CompletionResult]::new('-i', '-i', [CompletionResultType]::ParameterName, 'Ask before a file is replaced')
            [CompletionResult]::new('--interactive', '--interactive', [CompletionResultType]::ParameterName, 'Ask before a file is replaced')
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'Never replace (rsync''s -n is --dry-run)')
            [CompletionResult]::new('--no-clobber', '--no-clobber', [CompletionResultType]::ParameterName, 'Never replace (rsync''s -n is --dry-run)')
            [CompletionResult]::new('-u', '-u', [CompletionResultType]::ParameterName, 'Replace only what is older')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'With -l or -s, replace what exists (copies always do)')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'With -l or -s, replace what exists (copies always do)')
            [CompletionResult]::new('--remove-destination', '--remove-destination', [CompletionResultType]::ParameterName, 'Replace also FIFOs and devices, and not what a link leads to')
            [CompletionResult]::new('-b', '-b', [CompletionResultType]::ParameterName, 'Keep what is replaced, under another name')
            [CompletionResult]::new('-0', '-0', [CompletionResultType]::ParameterName, 'What these files hold ends in NUL instead of newline')
            [CompletionResult]::new('--from0', '--from0', [CompletionResultType]::ParameterName, 'What these files hold ends in NUL instead of newline')
            [CompletionResult]::new('--verify', '--verify', [CompletionResultType]::ParameterName, 'Read each file back from the device')
            [CompletionResult]::new('--resume', '--resume', [CompletionResultType]::ParameterName, 'Go on where an interrupted --resume ended')
            [CompletionResult]::new('--verify-only', '--verify-only', [CompletionResultType]::ParameterName, 'Copy nothing: compare DEST with SOURCE, both as their devices have them')
            [CompletionResult]::new('--repair', '--repair', [CompletionResultType]::ParameterName, 'Write again what differs; with --verify-only also copy what is missing')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Print each file when it is done')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Print each file when it is done')
            [CompletionResult]::new('--debug', '--debug', [CompletionResultType]::ParameterName, 'Print a line a file: direct or buffered, and why')
            [CompletionResult]::new('--stats', '--stats', [CompletionResultType]::ParameterName, 'Print what was done in the end')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print a JSON object a line on stdout: what happened, and a summary')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Say what would be done (-n is --no-clobber)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
