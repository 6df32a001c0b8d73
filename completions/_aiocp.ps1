
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
            [CompletionResult]::new('--preserve', '--preserve', [CompletionResultType]::ParameterName, 'Preserve mode, ownership, timestamps, links, context, xattr or all')
            [CompletionResult]::new('--no-preserve', '--no-preserve', [CompletionResultType]::ParameterName, 'Do not preserve these attributes')
            [CompletionResult]::new('--sparse', '--sparse', [CompletionResultType]::ParameterName, 'Holes: auto keeps them, always turns zeros into them, never fills them')
            [CompletionResult]::new('--reflink', '--reflink', [CompletionResultType]::ParameterName, 'Clone files: auto, always, never')
            [CompletionResult]::new('--update', '--update', [CompletionResultType]::ParameterName, 'Replace all, none, none-fail or older files')
            [CompletionResult]::new('--backup', '--backup', [CompletionResultType]::ParameterName, 'Same: none, numbered, existing or simple names')
            [CompletionResult]::new('-S', '-S ', [CompletionResultType]::ParameterName, 'Suffix of simple backups [default: ~]')
            [CompletionResult]::new('--suffix', '--suffix', [CompletionResultType]::ParameterName, 'Suffix of simple backups [default: ~]')
            [CompletionResult]::new('--exclude', '--exclude', [CompletionResultType]::ParameterName, 'Exclude matching files, as in rsync')
            [CompletionResult]::new('--include', '--include', [CompletionResultType]::ParameterName, 'Include files that a later --exclude matches')
            [CompletionResult]::new('--exclude-from', '--exclude-from', [CompletionResultType]::ParameterName, 'Read --exclude patterns from FILE ("-": stdin)')
            [CompletionResult]::new('--include-from', '--include-from', [CompletionResultType]::ParameterName, 'Read --include patterns from FILE ("-": stdin)')
            [CompletionResult]::new('--min-size', '--min-size', [CompletionResultType]::ParameterName, 'Skip files smaller than SIZE')
            [CompletionResult]::new('--max-size', '--max-size', [CompletionResultType]::ParameterName, 'Skip files larger than SIZE')
            [CompletionResult]::new('--files-from', '--files-from', [CompletionResultType]::ParameterName, 'Copy only the paths listed in FILE, relative to SOURCE ("-": stdin)')
            [CompletionResult]::new('--manifest', '--manifest', [CompletionResultType]::ParameterName, 'Write BLAKE3 hashes to FILE ("-": stdout)')
            [CompletionResult]::new('--direct', '--direct', [CompletionResultType]::ParameterName, 'Bypass the page cache with O_DIRECT: auto, always, never')
            [CompletionResult]::new('--engine', '--engine', [CompletionResultType]::ParameterName, 'I/O engine for big files [default: kernel, else threads]')
            [CompletionResult]::new('--queue-depth', '--queue-depth', [CompletionResultType]::ParameterName, 'Blocks in flight, 1 to 4096')
            [CompletionResult]::new('--block-size', '--block-size', [CompletionResultType]::ParameterName, 'Block size, a power of two from 4K to 64M')
            [CompletionResult]::new('--threads', '--threads', [CompletionResultType]::ParameterName, 'Worker threads, 1 to 1024')
            [CompletionResult]::new('--bwlimit', '--bwlimit', [CompletionResultType]::ParameterName, 'Limit reading to RATE per second, in KiB without a unit; 0: no limit')
            [CompletionResult]::new('--journal-interval', '--journal-interval', [CompletionResultType]::ParameterName, 'With --resume, bytes of a big file that may be copied twice')
            [CompletionResult]::new('--progress', '--progress', [CompletionResultType]::ParameterName, 'Show progress: auto, always, never')
            [CompletionResult]::new('--log-file', '--log-file', [CompletionResultType]::ParameterName, 'Append events to FILE, one per line')
            [CompletionResult]::new('--failed-list', '--failed-list', [CompletionResultType]::ParameterName, 'Write the paths that failed, for --files-from ("-": stdout)')
            [CompletionResult]::new('--report', '--report', [CompletionResultType]::ParameterName, 'Write an HTML report: rates, latencies, slow files, failures')
            [CompletionResult]::new('--completions', '--completions', [CompletionResultType]::ParameterName, 'Print a completion script for bash, zsh, fish, elvish or powershell')
            [CompletionResult]::new('-T', '-T ', [CompletionResultType]::ParameterName, 'Treat DEST as the copy''s name, merge trees')
            [CompletionResult]::new('--no-target-directory', '--no-target-directory', [CompletionResultType]::ParameterName, 'Treat DEST as the copy''s name, merge trees')
            [CompletionResult]::new('-r', '-r', [CompletionResultType]::ParameterName, 'Accepted: directories are always recursive')
            [CompletionResult]::new('--recursive', '--recursive', [CompletionResultType]::ParameterName, 'Accepted: directories are always recursive')
            [CompletionResult]::new('-p', '-p', [CompletionResultType]::ParameterName, 'Preserve mode, times, owner and group')
            [CompletionResult]::new('-a', '-a', [CompletionResultType]::ParameterName, 'Preserve all: owners, xattrs, devices too')
            [CompletionResult]::new('--archive', '--archive', [CompletionResultType]::ParameterName, 'Preserve all: owners, xattrs, devices too')
            [CompletionResult]::new('--parents', '--parents', [CompletionResultType]::ParameterName, 'Recreate SOURCE''s leading directories under DIRECTORY')
            [CompletionResult]::new('--strip-trailing-slashes', '--strip-trailing-slashes', [CompletionResultType]::ParameterName, 'Remove trailing slashes from each SOURCE')
            [CompletionResult]::new('-L', '-L ', [CompletionResultType]::ParameterName, 'Follow all symbolic links in SOURCE')
            [CompletionResult]::new('--dereference', '--dereference', [CompletionResultType]::ParameterName, 'Follow all symbolic links in SOURCE')
            [CompletionResult]::new('-P', '-P ', [CompletionResultType]::ParameterName, 'Copy symbolic links as links, even as SOURCE (default)')
            [CompletionResult]::new('--no-dereference', '--no-dereference', [CompletionResultType]::ParameterName, 'Copy symbolic links as links, even as SOURCE (default)')
            [CompletionResult]::new('-H', '-H ', [CompletionResultType]::ParameterName, 'Follow symbolic links given as SOURCE')
            [CompletionResult]::new('-d', '-d', [CompletionResultType]::ParameterName, 'Same as -P --preserve=links')
            [CompletionResult]::new('-x', '-x', [CompletionResultType]::ParameterName, 'Stay on each SOURCE''s filesystem')
            [CompletionResult]::new('--one-file-system', '--one-file-system', [CompletionResultType]::ParameterName, 'Stay on each SOURCE''s filesystem')
            [CompletionResult]::new('-l', '-l', [CompletionResultType]::ParameterName, 'Hard link files instead of copying')
            [CompletionResult]::new('--link', '--link', [CompletionResultType]::ParameterName, 'Hard link files instead of copying')
            [CompletionResult]::new('-s', '-s', [CompletionResultType]::ParameterName, 'Make symbolic links instead of copying')
            [CompletionResult]::new('--symbolic-link', '--symbolic-link', [CompletionResultType]::ParameterName, 'Make symbolic links instead of copying')
            [CompletionResult]::new('--attributes-only', '--attributes-only', [CompletionResultType]::ParameterName, 'Copy attributes only, no data')
            [CompletionResult]::new('--no-sync', '--no-sync', [CompletionResultType]::ParameterName, 'Do not wait for the device')
            [CompletionResult]::new('-i', '-i', [CompletionResultType]::ParameterName, 'Ask before replacing a file')
            [CompletionResult]::new('--interactive', '--interactive', [CompletionResultType]::ParameterName, 'Ask before replacing a file')
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'Never replace (rsync''s -n is --dry-run)')
            [CompletionResult]::new('--no-clobber', '--no-clobber', [CompletionResultType]::ParameterName, 'Never replace (rsync''s -n is --dry-run)')
            [CompletionResult]::new('-u', '-u', [CompletionResultType]::ParameterName, 'Replace only older files')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Replace existing files with -l or -s')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Replace existing files with -l or -s')
            [CompletionResult]::new('--inplace', '--inplace', [CompletionResultType]::ParameterName, 'Write into the files that are there instead of replacing them')
            [CompletionResult]::new('--remove-destination', '--remove-destination', [CompletionResultType]::ParameterName, 'Replace FIFOs, devices and links themselves too')
            [CompletionResult]::new('-b', '-b', [CompletionResultType]::ParameterName, 'Back up each file before replacing it')
            [CompletionResult]::new('-0', '-0', [CompletionResultType]::ParameterName, 'Entries in list files end in NUL, not newline')
            [CompletionResult]::new('--from0', '--from0', [CompletionResultType]::ParameterName, 'Entries in list files end in NUL, not newline')
            [CompletionResult]::new('--verify', '--verify', [CompletionResultType]::ParameterName, 'Read each copy back from the device')
            [CompletionResult]::new('--resume', '--resume', [CompletionResultType]::ParameterName, 'Continue an interrupted --resume copy')
            [CompletionResult]::new('--verify-only', '--verify-only', [CompletionResultType]::ParameterName, 'Compare DEST with SOURCE, and copy nothing')
            [CompletionResult]::new('--repair', '--repair', [CompletionResultType]::ParameterName, 'Rewrite blocks that differ; with --verify-only also copy what is missing')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Print each file when it is done')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Print each file when it is done')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print errors only')
            [CompletionResult]::new('--debug', '--debug', [CompletionResultType]::ParameterName, 'Print for each file whether I/O was direct, and why')
            [CompletionResult]::new('--stats', '--stats', [CompletionResultType]::ParameterName, 'Print totals at the end')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print events and a summary as JSON lines on stdout')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Show what it would do (-n is --no-clobber)')
            [CompletionResult]::new('--no-config', '--no-config', [CompletionResultType]::ParameterName, 'Ignore the file of options that AIOCP_CONFIG_PATH names')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help; --help lists all options')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help; --help lists all options')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print the version, and the I/O engines')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print the version, and the I/O engines')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
